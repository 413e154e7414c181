"""Turns the runs of a sweep into one result of numbers."""
