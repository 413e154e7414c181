"""One SGD step of 64 models, 16 each of four hidden sizes: python -m benchmarks.step.

Every contender lives in processes of its own, which wait between its turns; one that trains in
shards has one process a core, and its time is that of the slowest.
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

from benchmarks.contenders import CLASSES, MAKERS, grid, random_data
from benchmarks.measure import CORES, Samples, arguments, interleave, save
from pipeline.execution.plan import plan_waves

TURN_SECONDS = 1.0  # how long a contender steps at each turn, about
QUICK_SECONDS = 0.02
REST_SECONDS = 0.2  # between turns: the threads of the one before go to sleep
MIN_STEPS = 3


class Variant(NamedTuple):
    """A contender with a number of processes and of threads in each."""

    maker: str  # in `contenders.MAKERS`
    processes: int
    threads: int

    @property
    def name(self) -> str:
        return f"{self.maker}, {self.processes} × {self.threads}"


def variants(cores: int) -> list[Variant]:
    """Shards on all cores with one thread each, the others with one thread and with all."""
    sharded = [Variant(maker, cores, 1) for maker in ("population", "floor")]
    alone = [maker for maker in MAKERS if maker not in ("population", "floor")]
    return sharded + [Variant(*pair) for pair in itertools.product(alone, (1,), (1, cores))]


class Contender:
    """The processes of a variant."""

    def __init__(self, variant: Variant, D: int, quick: bool) -> None:
        """Start them; each warms up."""
        spawn = multiprocessing.get_context("spawn")
        barrier = spawn.Barrier(variant.processes)
        self.samples, self._ends = Samples(command=variant.name), []
        for shard in range(variant.processes):
            end, other = spawn.Pipe()
            work = (variant, shard, D, quick, barrier, other)
            spawn.Process(target=serve, args=work, daemon=True).start()
            other.close()  # the process has its own; should it die, `recv` fails
            self._ends.append(end)
        warm = max(end.recv() for end in self._ends)
        seconds = QUICK_SECONDS if quick else TURN_SECONDS
        self._steps = max(MIN_STEPS, round(seconds / warm))

    def turn(self) -> None:
        """Make some steps, and note the time of one."""
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
    quick: bool,
    barrier: Barrier,
    connection: Connection,
) -> None:
    """In a process: make as many steps as the connection says, and tell the time of one."""
    if "torch" in variant.maker:
        import torch

        torch.set_num_threads(variant.threads)
    data = random_data(D, 2_000 if quick else 10_000)
    jobs = grid((8, 16) if quick else (32, 64, 128, 256))
    (wave,) = plan_waves(jobs, D, CLASSES, variant.processes, sys.maxsize, threads=False)
    step = MAKERS[variant.maker](data, [jobs[i] for i in sorted(wave[shard].jobs)])
    with threadpool_limits(variant.threads):
        step()
        connection.send(_time_of(step, MIN_STEPS, barrier))
        while steps := connection.recv():
            connection.send(_time_of(step, steps, barrier))


def _time_of(step: Callable[[], object], steps: int, barrier: Barrier) -> float:
    step()  # since the last turn, others have had the caches
    barrier.wait()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - began) / steps


def main(argv: Sequence[str] | None = None) -> None:
    """Measure at D = 3072, 784 and 64."""
    options = arguments(__doc__, repeats=11).parse_args(argv)
    results: dict[str, dict[str, object]] = {}
    for D in (3072, 784, 64):
        contenders = [Contender(variant, D, options.quick) for variant in variants(CORES)]

        def keep(D: int = D, contenders: Sequence[Contender] = contenders) -> None:
            results[str(D)] = {c.samples.command: asdict(c.samples) for c in contenders}
            save("step", options.quick, {"sizes": results})

        interleave([c.turn for c in contenders], 2 if options.quick else options.repeats, keep)
        for contender in contenders:
            times = sorted(contender.samples.seconds)
            print(f"D={D} {contender.samples.command:24} {1000 * times[len(times) // 2]:8.1f} ms")
            contender.stop()


if __name__ == "__main__":
    main()
