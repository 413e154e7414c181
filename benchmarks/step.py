"""One SGD step of 64 models, 16 each of four hidden sizes: python -m benchmarks.step.

Every contender has its own processes, which wait between its turns. A contender that trains in
shards has one process per core, and the slowest process determines its time.
"""

from __future__ import annotations

import itertools
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import NamedTuple

from threadpoolctl import threadpool_limits

from benchmarks.contenders import CLASSES, MAKERS, grid, random_data, set_threads
from benchmarks.measure import CORES, Mode, Samples, arguments, interleave, save
from pipeline.execution.plan import plan_waves

TURN_SECONDS = {Mode.FULL: 1.0, Mode.QUICK: 0.4, Mode.SMOKE: 0.02}  # of a contender, about
REPEATS = {Mode.QUICK: 5, Mode.SMOKE: 2}
REST_SECONDS = 0.2  # between turns, so that idle threads of the previous contender go to sleep
MIN_STEPS = 3


class Variant(NamedTuple):
    """A contender with a number of processes and of threads in each."""

    maker: str  # a key of `contenders.MAKERS`
    processes: int
    threads: int

    @property
    def name(self) -> str:
        return f"{self.maker}, {self.processes} × {self.threads}"


def variants(cores: int, mode: Mode) -> list[Variant]:
    """Shards on all cores with one thread each; the peers with one thread and with all."""
    sharded = [Variant(maker, cores, 1) for maker in ("population", "floor")]
    alone = [maker for maker in MAKERS if maker not in ("population", "floor")]
    if mode is Mode.QUICK:
        alone = ["naive", "scikit_learn"]
    return sharded + [Variant(*pair) for pair in itertools.product(alone, (1,), (1, cores))]


class Contender:
    """The processes of a variant."""

    def __init__(self, variant: Variant, D: int, mode: Mode) -> None:
        """Start the processes; each warms up."""
        spawn = multiprocessing.get_context("spawn")
        barrier = spawn.Barrier(variant.processes)
        self.samples, self._ends = Samples(command=variant.name), []
        for shard in range(variant.processes):
            end, other = spawn.Pipe()
            work = (variant, shard, D, mode, barrier, other)
            spawn.Process(target=serve, args=work, daemon=True).start()
            other.close()  # so that `recv` fails if the process dies
            self._ends.append(end)
        warm = max(end.recv() for end in self._ends)
        self._steps = max(MIN_STEPS, round(TURN_SECONDS[mode] / warm))

    def turn(self) -> None:
        """Take some steps, and record the time per step."""
        time.sleep(REST_SECONDS)
        for end in self._ends:
            end.send(self._steps)
        self.samples.seconds.append(max(end.recv() for end in self._ends))

    def stop(self) -> None:
        """End the processes."""
        for end in self._ends:
            end.send(0)


def serve(
    variant: Variant,
    shard: int,
    D: int,
    mode: Mode,
    barrier: Barrier,
    connection: Connection,
) -> None:
    """Take the requested number of steps, and send the time per step; in a process."""
    set_threads(variant.maker, variant.threads)
    smoke = mode is Mode.SMOKE
    data = random_data(D, 2_000 if smoke else 10_000)
    jobs = grid((8, 16) if smoke else (32, 64, 128, 256))
    (wave,) = plan_waves(jobs, D, CLASSES, variant.processes, sys.maxsize, threads=False)
    step = MAKERS[variant.maker](data, [jobs[i] for i in sorted(wave[shard].jobs)])
    with threadpool_limits(variant.threads):
        step()
        connection.send(_time_of(step, MIN_STEPS, barrier))
        while steps := connection.recv():
            connection.send(_time_of(step, steps, barrier))


def _time_of(step: Callable[[], object], steps: int, barrier: Barrier) -> float:
    step()  # refills the caches after the turns of other contenders
    barrier.wait()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - began) / steps


def main(argv: Sequence[str] | None = None) -> None:
    """Measure at D = 3072, 784 and 64."""
    options = arguments(__doc__, repeats=11).parse_args(argv)
    mode = options.mode
    results: dict[str, dict[str, object]] = {}
    for D in (3072, 784, 64):
        contenders = [Contender(variant, D, mode) for variant in variants(CORES, mode)]

        def keep(D: int = D, contenders: Sequence[Contender] = contenders) -> None:
            results[str(D)] = {c.samples.command: asdict(c.samples) for c in contenders}
            save("step", mode, {"sizes": results})

        interleave([c.turn for c in contenders], REPEATS.get(mode, options.repeats), keep)
        for contender in contenders:
            times = sorted(contender.samples.seconds)
            print(f"D={D} {contender.samples.command:24} {1000 * times[len(times) // 2]:8.1f} ms")
            contender.stop()


if __name__ == "__main__":
    main()
