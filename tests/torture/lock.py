"""Another program holds the lock of the sqlite store."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

from tests.torture.command import Command
from tests.torture.lab import Lab, no_traceback
from tests.torture.results import problems
from tests.torture.trials import Kind, Outcome, Spot

HELD = 30.0  # seconds: longer than MLflow waits


def lock(lab: Lab, spot: Spot) -> Outcome:
    """Lock the store at a random moment of a sweep; if the sweep fails, rerun it."""
    outputs = lab.outputs(spot.folder)
    at, how = spot.rng.uniform(0, lab.seconds), spot.rng.choice(["IMMEDIATE", "EXCLUSIVE"])
    command = Command(outputs, *lab.sweep)
    command.runs_for(at)
    database = outputs / "mlflow.db"
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as store:
        store.execute(f"BEGIN {how}")
        time.sleep(HELD)
        store.execute("ROLLBACK")
    ended = command.end()
    found = list(no_traceback(ended))
    if ended.code == 0:
        kind = "the sweep waited"
        found += problems(outputs, lab.reference)
    else:
        kind = "the sweep failed with a message"
        if "MLflow" not in ended.said:
            found.append(f"it failed without a reason: {ended.last_lines}")
        found += lab.end_well(outputs)
    return Outcome(f"{how} at {at:.2f} s", found, [kind])


KINDS = [
    Kind("lock", "another program locks the sqlite store for 30 s; if the sweep fails, the same "
         "command", "no traceback; the results equal an undisturbed sweep", lock, 5, 1),
]  # fmt: skip
