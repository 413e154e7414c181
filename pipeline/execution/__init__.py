"""Trains the jobs of a sweep."""
