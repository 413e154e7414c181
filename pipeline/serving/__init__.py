"""Promotes, loads and serves the champion."""
