"""Two sweeps at the same time in one store, and a reader."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.command import Command
from tests.torture.lab import SEEDS, Lab, not_well
from tests.torture.results import finished, jobs_of, problems, read_runs, result
from tests.torture.trials import Kind, Outcome, Spot


@dataclass
class Reader:
    """Reads a store repeatedly until `stop` is set."""

    database: Path
    reads: int = 0
    errors: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        """Read all runs ten times a second."""
        while not self.stop.wait(0.1):
            if not self.database.exists():
                continue
            try:
                with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as store:
                    store.execute("SELECT count(*) FROM sqlite_master").fetchone()
                if self.reads or _has_tables(self.database):
                    read_runs(self.database)
                    self.reads += 1
            except (sqlite3.Error, OSError) as error:
                self.errors.append(str(error))


def _has_tables(database: Path) -> bool:
    """Whether the store has all its tables."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as store:
        tables = {row[0] for row in store.execute("SELECT name FROM sqlite_master")}
        needed = {"runs", "tags", "params", "metrics", "alembic_version"}
        if not needed <= tables:
            return False
        columns = {row[1] for row in store.execute("PRAGMA table_info(metrics)")}
        return {"step", "is_nan"} <= columns


def together(lab: Lab, spot: Spot) -> Outcome:
    """Two sweeps that start within a second of each other, in a new store or an empty one."""
    new, same = spot.rng.random() < 0.5, spot.rng.random() < 0.5
    outputs = spot.folder / "outputs"
    if not new:
        shutil.copytree(lab.root / "template", outputs)
    reader = Reader(outputs / "mlflow.db")
    thread = threading.Thread(target=reader.work)
    thread.start()
    other = lab.sweep if same else tuple("seed=2,3" if a == SEEDS else a for a in lab.sweep)
    apart = spot.rng.uniform(0, 1)
    first = Command(outputs, *lab.sweep)
    time.sleep(apart)
    second = Command(outputs, *other)
    ends = [command.end() for command in (first, second)]
    reader.stop.set()
    thread.join()
    found = [problem for ended in ends for problem in not_well(ended)]
    found += [f"a reader met {error!r}" for error in dict.fromkeys(reader.errors)]
    if not reader.reads:
        found.append("the reader never read")
    found += _both_there(lab, outputs, same)
    jobs = "the same jobs" if same else "other jobs"
    kind = f"{'a new' if new else 'one'} store, {jobs}"
    return Outcome(f"{kind}, {apart:.2f} s apart", found, [kind])


def _both_there(lab: Lab, outputs: Path, same: bool) -> Iterator[str]:
    jobs = len(lab.reference)
    expected = Counter(job.outcome for job in lab.reference.values())
    reports = list((outputs / "reports").glob("2*/report.json"))
    if len(reports) != 2:
        yield f"{len(reports)} reports in place of 2"
    for path in reports:
        runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
        if len(runs) != jobs or len({run["job"] for run in runs}) != jobs:
            yield f"a report lists {len(runs)} jobs in place of {jobs}"
        elif same and Counter(run["outcome"] for run in runs) != expected:
            yield f"a report lists {Counter(run['outcome'] for run in runs)}"
    if same:
        yield from problems(outputs, lab.reference, times=2)
        return
    runs = read_runs(outputs / "mlflow.db")
    found = finished(runs)
    if len(found) != 2 * jobs:
        ends = Counter((run.status, run.tags.get("outcome")) for run in jobs_of(runs))
        yield f"{len(found)} jobs FINISHED in place of {2 * jobs}: {dict(ends)}"
    for key in lab.reference:
        if [result(run, None) for run in found.get(key, [])] != [lab.reference[key]]:
            yield "a job of the first sweep is not as when it trains alone"


KINDS = [
    Kind("both", "two sweeps at once in one store, which is new in half of the trials, with the "
         "same or other jobs, while a reader queries the store ten times a second", "both succeed; "
         "each report lists all its jobs; the results equal an undisturbed sweep", together, 10, 1),
]  # fmt: skip
