"""Trials: each one disturbance at one seeded point, done in a folder of its own, two at a time."""

from __future__ import annotations

import random
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from tests.torture.lab import Lab


@dataclass(frozen=True)
class Outcome:
    """How a trial went."""

    point: str  # where it struck, in words
    problems: Sequence[str] = ()
    kinds: Sequence[str] = ()  # of its points, to be counted: "in training"


class Spot(NamedTuple):
    """Where a trial is done, and what decides about it."""

    folder: Path
    rng: random.Random
    number: int  # of the trials of its kind


Trial = Callable[[Lab, Spot], Outcome]


@dataclass(frozen=True)
class Kind:
    """One kind of trial."""

    name: str  # short: part of a trial's name
    done: str  # what was done
    held: str  # what held
    trial: Trial
    times: int
    quick: int  # times under --quick


@dataclass
class Row:
    """The trials of a kind that were done."""

    kind: Kind
    planned: int
    done: int = 0
    points: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)  # trial, point and problem


class Choice(NamedTuple):
    """What of all trials is to be done."""

    seed: int  # of everything
    quick: bool = False  # few of each kind
    only: str = ""  # a kind or a trial; "": all


def do(kinds: Sequence[Kind], lab: Lab, choice: Choice, until: float, at_once: int) -> list[Row]:
    """Do trials of several kinds in a seeded order, some at a time, as many as fit.

    Args:
        kinds: what to do.
        lab: what the trials share.
        choice: which of them.
        until: the time (monotonic) after which none is begun.
        at_once: how many at a time.
    """
    rows = {kind.name: Row(kind, kind.quick if choice.quick else kind.times) for kind in kinds}
    names = [
        (row.kind, f"{row.kind.name}-{i}") for row in rows.values() for i in range(row.planned)
    ]
    random.Random(choice.seed).shuffle(names)
    waiting = iter([(kind, name) for kind, name in names if choice.only in ("", kind.name, name)])
    lock = Lock()

    def work() -> None:
        while time.monotonic() < until:
            with lock:
                kind, name = next(waiting, (None, ""))
            if kind is None:
                return
            outcome = _one(kind, name, lab, choice.seed)
            row = rows[kind.name]
            with lock:
                row.done += 1
                row.points.update(outcome.kinds)
                problems = Counter(outcome.problems)
                row.failures += [
                    f"{name} | {outcome.point} | {problem}{f' ({n} times)' if n > 1 else ''}"
                    for problem, n in problems.items()
                ]
                mark = "FAILED" if outcome.problems else "held"
                print(
                    f"{name}: {outcome.point}: {mark}", *outcome.problems, sep="\n    ", flush=True
                )

    with ThreadPoolExecutor(at_once) as pool:
        for future in [pool.submit(work) for _ in range(at_once)]:
            future.result()
    return list(rows.values())


def _one(kind: Kind, name: str, lab: Lab, seed: int) -> Outcome:
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=lab.root) as folder:
        try:
            number = int(name.rpartition("-")[2])
            return kind.trial(lab, Spot(Path(folder), random.Random(f"{seed} {name}"), number))
        except Exception:  # a trial that cannot be done has not held
            return Outcome(
                "the trial itself", [" / ".join(traceback.format_exc().split("\n")[-4:])]
            )
