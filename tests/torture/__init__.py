"""Fault injection for sweeps: kills, signals, locks, full disks, lost servers, damaged files.

`make torture` does all of it with the real command line, and writes docs/reliability.md. Every
point at which something goes wrong comes from a seeded generator, so that a trial can be repeated.
"""
