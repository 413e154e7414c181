"""All parts, one after another: python -m benchmarks [--quick] [--repeats N]."""

from __future__ import annotations

import sys

from benchmarks import jobs, memory, report, step, sweep


def main() -> None:
    """Measure, then write docs/benchmarks.md."""
    for part in (step, sweep, jobs, memory, report):
        print(f"== {part.__name__}", flush=True)
        part.main(sys.argv[1:])


if __name__ == "__main__":
    main()
