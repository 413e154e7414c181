"""The fixed cost of a job, from sweeps of tiny one-epoch jobs: python -m benchmarks.jobs.

The cost of a job is (time of n jobs − time of 2 jobs) / (n − 2). The start of Python and of the
workers, the imports and the creation of the store cancel out. The cost includes the training, which
takes milliseconds, and this project's report. The stock way writes no report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial

from benchmarks.measure import (
    Mode,
    Samples,
    arguments,
    fresh_folder,
    interleave,
    note_phases,
    run,
    save,
)
from benchmarks.memory import peak_memory

TINY = ("-m", "hidden_size=4", "num_epochs=1")
OURS = ("python", "-m", "pipeline", *TINY)
TIMED = ("python", "-m", "benchmarks.phases", *TINY)
STOCK = ("python", "-m", "benchmarks.peers.stock_hydra", *TINY)
MANY_JOBS = 10_000
SIDES = {  # number of jobs: learning rates × values of l2_reg
    2: (1, 2),
    4: (2, 2),
    8: (2, 4),
    64: (8, 8),
    256: (16, 16),
    512: (16, 32),
    1024: (32, 32),
    MANY_JOBS: (100, 100),
}
COUNTS: Mapping[Mode, tuple[tuple[int, ...], tuple[int, ...]]] = {  # this project, the stock way
    Mode.FULL: ((2, 64, 256, 512, 1024, MANY_JOBS), (2, 64, 256, 1024)),
    Mode.QUICK: ((2, 64, 1024), (2, 64)),
    Mode.SMOKE: ((2, 4, 8), (2, 4, 8)),
}


def grid(jobs: int) -> list[str]:
    """Return the overrides of a sweep with this number of jobs: learning_rate × l2_reg."""
    rates, penalties = SIDES[jobs]
    return [
        "learning_rate=" + ",".join(f"{0.01 * (i + 1):g}" for i in range(rates)),
        "l2_reg=" + ",".join(f"{1e-5 * i:g}" for i in range(penalties)),
    ]


def measure(command: Sequence[str], jobs: int, samples: Samples) -> None:
    """Run a sweep with this number of jobs. Record its time, and of many jobs also the memory."""
    with fresh_folder() as folder:
        measure = peak_memory if jobs >= MANY_JOBS else run
        measure([*command, *grid(jobs)], folder, samples)
        note_phases(folder, samples)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure both ways for several numbers of jobs."""
    options = arguments(__doc__, repeats=3).parse_args(argv)
    ours, stock = COUNTS[options.mode]
    timed = {Mode.FULL: [1024], Mode.SMOKE: [8]}.get(options.mode, [])
    ways = {"population": (OURS, ours), "stock": (STOCK, stock), "timed": (TIMED, timed)}
    samples: dict[str, dict[str, Samples]] = {}
    contenders: list[Callable[[], None]] = []
    for way, (command, counts) in ways.items():
        samples[way] = {str(jobs): Samples() for jobs in counts}
        contenders += [partial(measure, command, n, samples[way][str(n)]) for n in counts]

    def keep() -> None:
        results = {
            way: {jobs: asdict(each) for jobs, each in by_jobs.items()}
            for way, by_jobs in samples.items()
        }
        save("jobs", options.mode, {"ways": results})

    interleave(contenders, options.repeats if options.mode is Mode.FULL else 1, keep)


if __name__ == "__main__":
    main()
