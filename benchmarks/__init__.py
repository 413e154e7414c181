"""Side-by-side measurements, run by hand: `make bench`, or one part as python -m benchmarks.step."""
