"""A small part of `make torture`, and its detection of damaged stores."""

from __future__ import annotations

import math
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.torture import commands, damage, kill
from tests.torture.lab import Lab, prepare
from tests.torture.page import page
from tests.torture.results import problems
from tests.torture.trials import Choice, Kind, Outcome, do

SWEEP = ("-m", "hidden_size=8,16", "l2_reg=1e-4,3.5", "learning_rate=0.3")
SHORT = ("learning_rate_decay=0.999", "batch_size=20", "num_epochs=20")
TWICE = """INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
SELECT key, value, timestamp + 1, run_uuid, step, is_nan FROM metrics WHERE step = 2"""
SEED = 589  # it kills twice in a row, during the training
PART = {"kill": 1, "term": 1, "damage": 2, "command": 2}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    root = tmp_path_factory.mktemp("torture")
    return prepare(root, (*SWEEP, *SHORT, "tracking.checkpoint_minutes=0.001"), times=1)


def test_the_sweep_to_disturb_is_whole(lab: Lab) -> None:
    assert lab.start_problems == ()
    outcomes = sorted(job.outcome for job in lab.reference.values())
    assert outcomes == ["diverged", "diverged", "finished", "finished"]


def test_a_small_part_of_the_torture_holds(lab: Lab) -> None:
    every = (*kill.KILLS, *kill.SIGNALS, *damage.KINDS, *commands.KINDS)
    kinds = [replace(kind, quick=PART[kind.name]) for kind in every if kind.name in PART]
    rows = do(kinds, lab, Choice(seed=SEED, quick=True), until=math.inf, at_once=2)
    assert [failure for row in rows for failure in row.failures] == []
    assert {row.kind.name: row.done for row in rows} == PART


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE runs SET status = 'RUNNING'", "are not FINISHED"),
        ("UPDATE runs SET status = 'RUNNING' WHERE name LIKE 'sweep %'", "is still RUNNING"),
        ("UPDATE metrics SET value = value * (1 + 1e-15) WHERE step = 3", "metrics differ"),
        ("DELETE FROM metrics WHERE step = 5", "metrics differ"),
        (TWICE, "metrics twice at a step"),
        ("UPDATE tags SET value = 'same' WHERE key = 'fingerprint'", "are not of the sweep"),
        ("UPDATE runs SET artifact_uri = artifact_uri || '-gone'", "weights.npz is missing"),
        ("UPDATE tags SET value = 'finished' WHERE key = 'outcome'", "not diverged"),
        ("", "left in checkpoints"),
    ],
)
def test_harm_to_a_store_is_seen(lab: Lab, tmp_path: Path, change: str, problem: str) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(lab.finished, outputs, symlinks=True)
    assert list(problems(outputs, lab.reference)) == []
    if change:
        with closing(sqlite3.connect(outputs / "mlflow.db")) as store, store:
            store.execute(change)
    else:
        (outputs / "checkpoints").mkdir(exist_ok=True)
        (outputs / "checkpoints" / "0.npz").touch()
    assert any(problem in found for found in problems(outputs, lab.reference))


def test_a_trial_that_does_not_hold_is_on_the_page_and_the_others_go_on(lab: Lab) -> None:
    def holds_once(_: Lab, spot: object) -> Outcome:
        number = spot.number  # type: ignore[attr-defined]
        if number == 1:
            raise ValueError("this | one")
        return Outcome(f"point {number}", ["lost"] * 2 if number == 0 else [], "points")

    kind = Kind("odd", "harm", "nothing", holds_once, times=3, quick=1)
    (row,) = do([kind], lab, Choice(seed=1), until=math.inf, at_once=1)
    assert row.done == 3
    assert len(row.failures) == 2
    text = page(lab, [("Section", row)], seed=1, seconds=60)
    assert "| 3 of 3 | 1 |" in text
    assert "| odd-0 | point 0 | lost (2 times) |" in text
    assert r"this \| one" in text


def test_time_that_is_over_begins_no_trial(lab: Lab) -> None:
    def never(*_: object) -> Outcome:
        pytest.fail("it was begun")

    (row,) = do([Kind("late", "", "", never, 2, 1)], lab, Choice(0), until=0, at_once=1)
    assert (row.done, row.planned) == (0, 2)


def test_the_points_of_a_seed_are_always_the_same(lab: Lab) -> None:
    def drawn(_: Lab, spot: object) -> Outcome:
        return Outcome("x", [str(spot.rng.random())])  # type: ignore[attr-defined]

    kind = Kind("p", "", "", drawn, 3, 1)
    first, again = (do([kind], lab, Choice(7), math.inf, 1)[0].failures for _ in range(2))
    other = do([kind], lab, Choice(8), math.inf, 1)[0].failures
    assert first == again
    assert sorted(first) != sorted(other)
