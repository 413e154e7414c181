"""Run all parts, one after another: python -m benchmarks [--mode quick] [--repeats N]."""

from __future__ import annotations

import sys

from benchmarks import cores, jobs, memory, report, step, sweep
from benchmarks.measure import Mode, arguments, blas_kernel


def main() -> None:
    """Measure, then write the report."""
    mode = arguments(__doc__, repeats=0).parse_args().mode
    print(f"BLAS of NumPy: {blas_kernel()}")
    parts = [step, cores, sweep, jobs, memory, report]
    if mode is Mode.QUICK:
        parts.remove(memory)
    for part in parts:
        print(f"== {part.__name__}", flush=True)
        part.main(sys.argv[1:])


if __name__ == "__main__":
    main()
