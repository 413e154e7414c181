"""What a sweep survives: kills, signals, locks, full disks, dead servers, damaged files, typos.

`make torture` does all of it with the real command line, and writes docs/reliability.md. Every
point at which something goes wrong comes from a seeded generator, so that a trial can be repeated.
"""
