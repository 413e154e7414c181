"""The peers of the benchmarks, each written as its own documentation recommends."""
