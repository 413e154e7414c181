"""Turns the result of an analysis into text, tables, charts and pages."""
