"""Kills and signals at a random moment of a sweep, then the same command again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, Signals

from tests.torture.command import Command, Ended
from tests.torture.lab import Lab, no_traceback
from tests.torture.results import broken_checkpoints, finished, jobs_of, read_runs
from tests.torture.trials import Kind, Outcome, Spot

VANISH = 5.0  # seconds within which the workers of a killed parent are gone
STOP = 15.0  # seconds within which a sweep that was asked to stop has stopped
AT_ONCE = 3.0  # within which a sweep has stopped after a second Ctrl-C
LEFT = 0.7  # of the time of a sweep, about, that a resumed one needs
LAST_LINE = "Leaderboard: "  # that a sweep prints


def phase(outputs: Path) -> str:
    """The phase in which a sweep was stopped, from the runs in its store."""
    try:
        runs = read_runs(outputs / "mlflow.db")
    except sqlite3.Error:  # the store is not complete yet
        return "in set-up"
    jobs = jobs_of(runs)
    if not jobs:
        return "in set-up"
    if any(run.status == "RUNNING" for run in jobs):
        return "in training"
    if any(run.status == "RUNNING" for run in runs):
        return "in the report"
    return "after the end"


def ids_of_finished(outputs: Path) -> set[str]:
    """The runs that have FINISHED."""
    found = finished(read_runs(outputs / "mlflow.db"))
    return {run.run_id for runs in found.values() for run in runs}


def resume(lab: Lab, outputs: Path, kept: set[str]) -> Iterator[str]:
    """Rerun the command, and check that finished runs stay and the results are complete."""
    yield from lab.end_well(outputs)
    if lost := kept - ids_of_finished(outputs):
        yield f"{len(lost)} runs that had FINISHED are no longer so"


def kill_all(lab: Lab, spot: Spot) -> Outcome:
    """SIGKILL to all processes of a sweep, up to four times."""
    return _kill(lab, spot, kills=spot.rng.randint(1, 4), group=True)


def kill_parent(lab: Lab, spot: Spot) -> Outcome:
    """SIGKILL to the parent alone: its workers must notice and vanish."""
    return _kill(lab, spot, kills=1, group=False)


def _kill(lab: Lab, spot: Spot, kills: int, group: bool) -> Outcome:
    outputs = lab.outputs(spot.folder)
    points, phases = [], []
    found: list[str] = []
    kept: set[str] = set()
    for again in range(kills):
        at = spot.rng.uniform(0, lab.seconds * (LEFT if again else 1))
        command = Command(outputs, *lab.sweep)
        command.runs_for(at)
        phases.append(phase(outputs))
        points.append(f"{at:.2f} s, {phases[-1]}")
        command.signal(SIGKILL, group)
        command.end()
        found += [f"outlived its parent: {name}" for name in command.survivors(VANISH)]
        found += broken_checkpoints(outputs)
        kept |= ids_of_finished(outputs)
    found += resume(lab, outputs, kept)
    return Outcome("; ".join(points), found, phases)


def terminate(lab: Lab, spot: Spot) -> Outcome:
    """SIGTERM to the parent, as kill does, or to all, as a batch system does."""
    return _stop(lab, spot, SIGTERM, 143, group=spot.rng.random() < 0.5)


def interrupt(lab: Lab, spot: Spot) -> Outcome:
    """SIGINT to all, as Ctrl-C does."""
    return _stop(lab, spot, SIGINT, 130, group=True)


def interrupt_twice(lab: Lab, spot: Spot) -> Outcome:
    """A second Ctrl-C soon after the first."""
    return _stop(lab, spot, SIGINT, 130, group=True, again=spot.rng.uniform(0.1, 1))


def _stop(
    lab: Lab, spot: Spot, number: Signals, code: int, group: bool, again: float | None = None
) -> Outcome:
    outputs = lab.outputs(spot.folder)
    points, phases = [], []
    found: list[str] = []
    kept: set[str] = set()
    for _ in range(spot.rng.randint(1, 3)):
        at = spot.rng.uniform(0, lab.seconds)
        command = Command(outputs, *lab.sweep)
        struck = command.runs_for(at)
        phases.append(phase(outputs) if struck else "after the end")
        points.append(f"{at:.2f} s, {phases[-1]}")
        command.signal(number, group)
        if again is not None and command.runs_for(at + again):
            command.signal(number, group)
        ended = command.end(STOP + AT_ONCE)
        took = ended.seconds - at
        if struck:
            found += _stopped_well(ended, took, {code, -number}, phases[-1], again)
        found += [f"outlived its parent: {name}" for name in command.survivors(VANISH)]
        kept |= ids_of_finished(outputs)
    found += resume(lab, outputs, kept)
    return Outcome("; ".join(points), found, phases)


def _stopped_well(
    ended: Ended, took: float, codes: set[int], where: str, again: float | None
) -> Iterator[str]:
    """The problems of the end of a sweep that was asked to stop.

    Before Python runs any code of ours, and after it has run the last, the signal itself ends it,
    which a shell shows as the same code; once the last line is out, there is nothing left to stop.
    """
    yield from no_traceback(ended)
    by_itself = {0, *(code for code in codes if code < 0)}
    if ended.code in by_itself and took < AT_ONCE and LAST_LINE in ended.said:
        return
    if ended.code not in codes:
        yield f"exit {ended.code} in place of {max(codes)}, after {took:.1f} s: {ended.last_lines}"
    if took > (STOP if again is None else again + AT_ONCE):
        yield f"it took {took:.1f} s to stop"
    if where != "in set-up" and again is None and "-m pipeline" not in ended.said:
        yield f"it did not print how to resume: {ended.last_lines}"


KILLS = [
    Kind("kill", "SIGKILL to all processes of a sweep, up to four times; then the same command",
         "the results equal an undisturbed sweep bit for bit; finished runs stay; checkpoints are "
         "complete", kill_all, 20, 2),
    Kind("orphan", "SIGKILL to the parent process only; then the same command", "its workers end "
         "within 5 s; the results equal an undisturbed sweep", kill_parent, 10, 1),
]  # fmt: skip
SIGNALS = [
    Kind("term", "SIGTERM to the parent or to all processes, up to three times; then the same "
         "command", "exit code 143; the command prints how to resume; the results equal an "
         "undisturbed sweep", terminate, 7, 1),
    Kind("int", "Ctrl-C, up to three times; then the same command", "exit code 130; the command "
         "prints how to resume; the results equal an undisturbed sweep", interrupt, 3, 1),
    Kind("twice", "Ctrl-C and again within a second, up to three times; then the same command",
         "the command stops within 3 s of the second; the results equal an undisturbed sweep",
         interrupt_twice, 2, 1),
]  # fmt: skip
