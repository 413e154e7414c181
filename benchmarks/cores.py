"""Few or wide models on all cores, and momentum: python -m benchmarks.cores.

All cases live in one process and take turns. Their threads wait between the turns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial

from threadpoolctl import threadpool_limits

from benchmarks.contenders import grid, random_data
from benchmarks.measure import CORES, Mode, Samples, arguments, interleave, save
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.train import steps

WIDTHS = {Mode.SMOKE: (32, 16)}  # of the wide model and of each of three equal models
TURN_STEPS = {Mode.SMOKE: 2}
FEATURES = {Mode.SMOKE: 64}
REPEATS = {Mode.SMOKE: 2, Mode.QUICK: 7}


def cases(mode: Mode) -> dict[str, tuple[list[Hyperparameters], int]]:
    """The models of each case and their number of threads."""
    wide, narrow = WIDTHS.get(mode, (1024, 512))
    (first, *_), equal = grid((wide,)), grid((narrow,))[:3]
    many = grid((narrow // 4,))[:8]
    return {
        "wide, 1 thread": ([first], 1),
        "wide, all cores": ([first], CORES),
        "one of three, 1 thread": (equal[:1], 1),
        "three, all cores": (equal, CORES),
        "plain SGD": (many, 1),
        "momentum": ([replace(job, momentum=0.9) for job in many], 1),
    }


def turn(stepper: Iterator[None], count: int, samples: Samples) -> None:
    """Take some steps, and record the time per step."""
    next(stepper)  # refills the caches after the turns of other cases
    began = time.perf_counter()
    for _ in range(count):
        next(stepper)
    samples.seconds.append((time.perf_counter() - began) / count)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all cases at D = 3072."""
    options = arguments(__doc__, repeats=15).parse_args(argv)
    mode, D = options.mode, FEATURES.get(options.mode, 3072)
    data = random_data(D, 4_000)
    samples = {name: Samples(command=name) for name in cases(mode)}
    with threadpool_limits(1, "blas"):
        turns = [
            partial(turn, steps(jobs, data, threads), TURN_STEPS.get(mode, 10), samples[name])
            for name, (jobs, threads) in cases(mode).items()
        ]

        def keep() -> None:
            results = {name: asdict(each) for name, each in samples.items()}
            save("cores", mode, {"D": D, "cases": results})

        interleave(turns, REPEATS.get(mode, options.repeats), keep)
    for name, each in samples.items():
        median = sorted(each.seconds)[len(each.seconds) // 2]
        print(f"{name:24} {1000 * median:8.1f} ms")


if __name__ == "__main__":
    main()
