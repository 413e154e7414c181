"""Trials: each injects one fault at one seeded moment, in its own folder."""

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
    """The result of a trial."""

    point: str  # the moment of the fault, in words
    problems: Sequence[str] = ()
    kinds: Sequence[str] = ()  # categories of the moment, which are counted


class Spot(NamedTuple):
    """The folder and the random numbers of a trial."""

    folder: Path
    rng: random.Random
    number: int  # of the trials of its kind


Trial = Callable[[Lab, Spot], Outcome]


@dataclass(frozen=True)
class Kind:
    """One kind of trial."""

    name: str  # short: part of a trial's name
    done: str  # the disturbance
    held: str  # the requirement
    trial: Trial
    times: int
    quick: int  # times under --quick


@dataclass
class Row:
    """The results of the trials of a kind."""

    kind: Kind
    planned: int
    done: int = 0
    points: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)  # trial, point and problem


class Choice(NamedTuple):
    """The selection of trials."""

    seed: int  # of everything
    quick: bool = False  # few of each kind
    only: str = ""  # a kind or a trial; "": all


def do(kinds: Sequence[Kind], lab: Lab, choice: Choice, until: float, at_once: int) -> list[Row]:
    """Run trials of several kinds in a seeded order, as many as the time allows.

    Args:
        kinds: the kinds of trials.
        lab: the values that all trials share.
        choice: the selection of trials.
        until: the monotonic time after which no trial starts.
        at_once: the number of trials at a time.
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
        except Exception:  # a trial that raises an error has failed
            return Outcome(
                "the trial itself", [" / ".join(traceback.format_exc().split("\n")[-4:])]
            )
