"""The fixed cost of a job: sweeps of up to 1,024 tiny one-epoch jobs: python -m benchmarks.jobs.

A job's cost is the time of n jobs less that of a sweep of two, over n − 2: starting Python and its
workers, imports and the new store drop out. Training takes milliseconds a job and is counted, and
so is this project's report; the stock way writes none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

from benchmarks.measure import Samples, arguments, fresh_folder, interleave, note_phases, run, save

TINY = ("-m", "hidden_size=4", "num_epochs=1")
OURS = ("python", "-m", "pipeline", *TINY)
TIMED = ("python", "-m", "benchmarks.phases", *TINY)
STOCK = ("python", "-m", "benchmarks.peers.stock_hydra", *TINY)
SIDES = {2: (1, 2), 4: (2, 2), 8: (2, 4), 64: (8, 8), 256: (16, 16), 512: (16, 32), 1024: (32, 32)}


def grid(jobs: int) -> list[str]:
    """Overrides that sweep so many jobs: learning rates × strengths of the penalty."""
    rates, penalties = SIDES[jobs]
    return [
        "learning_rate=" + ",".join(f"{0.01 * (i + 1):g}" for i in range(rates)),
        "l2_reg=" + ",".join(f"{1e-5 * i:g}" for i in range(penalties)),
    ]


def measure(command: Sequence[str], jobs: int, samples: Samples) -> None:
    """Run a sweep of so many jobs."""
    with fresh_folder() as folder:
        run([*command, *grid(jobs)], folder, samples)
        note_phases(folder, samples)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure both ways at growing numbers of jobs."""
    parser = arguments(__doc__, repeats=3)
    parser.add_argument("--full", action="store_true", help="the stock way at 1,024 jobs, too")
    options = parser.parse_args(argv)
    ours = [2, 4, 8] if options.quick else [2, 64, 256, 512, 1024]
    stock = [2, 4, 8] if options.quick else [2, 64, 256, *([1024] if options.full else [])]
    timed = ours[-1:]
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
        save("jobs", options.quick, {"ways": results})

    interleave(contenders, 1 if options.quick else options.repeats, keep)


if __name__ == "__main__":
    main()
