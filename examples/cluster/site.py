"""The servers, the sweep, and its results on one machine, which all trials share."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from examples.cluster.servers import Cluster
from tests.torture.command import Command
from tests.torture.lab import Lab, not_well
from tests.torture.results import Run, jobs_of, report_problems, runs_in, unlike
from tests.torture.trials import Outcome, Spot

PATIENCE = 120.0  # seconds within which a sweep must train
STATES = """SELECT status FROM runs JOIN tags USING (run_uuid) JOIN experiments
USING (experiment_id) WHERE experiments.name = %s AND tags.key = 'job'"""


@dataclass(frozen=True)
class Site:
    """The servers that all trials use, and the expected results."""

    lab: Lab
    database: str  # the URI of PostgreSQL
    server: str  # that of MLflow
    served: Path  # the folder of its artifacts

    def start(self, spot: Spot, cluster: Cluster, *more: str) -> Command:
        """Start the sweep on a cluster, in an experiment of its own."""
        return Command(
            spot.folder / "outputs",
            *(more or self.lab.sweep),
            f"tracking.uri={self.server}",
            f"tracking.experiment={spot.folder.name}",
            "hydra.launcher.backend=dask",
            f"hydra.launcher.scheduler={cluster.address}",
        )

    def strike(self, spot: Spot, command: Command, share: float = 1.0) -> tuple[str, str]:
        """Wait for a random point of the training; returns which, and whether it trains then.

        Args:
            spot: of the trial.
            command: that trains.
            share: of the training, within which the point lies.
        """
        most = int(share * len(self.lab.reference))
        jobs, seconds = spot.rng.randrange(most), spot.rng.uniform(0, 1)
        until = time.monotonic() + PATIENCE
        while command.runs_for(0) and time.monotonic() < until:
            states = self._states(spot)
            if states and states.count("FINISHED") >= jobs:
                time.sleep(seconds)
                break
            time.sleep(0.05)
        kind = "in training"
        if not command.runs_for(0):
            kind = "after the end"
        elif self._states(spot).count("FINISHED") == len(self.lab.reference):
            kind = "in the report"
        return f"{seconds:.1f} s after {jobs} jobs had finished, {kind}", kind

    def _states(self, spot: Spot) -> list[str]:
        """How the runs of the jobs stand."""
        with closing(psycopg2.connect(self.database)) as store:
            cursor = store.cursor()
            cursor.execute(STATES, [spot.folder.name])
            return [status for (status,) in cursor.fetchall()]

    def runs(self, spot: Spot) -> list[Run]:
        """All runs of the sweep, read with SQL alone."""
        names = {path.name for path in (spot.folder / "outputs" / "multirun").glob("*")}
        with closing(psycopg2.connect(self.database)) as store:
            return [run for run in runs_in(store) if run.tags.get("sweep") in names]

    def end(self, spot: Spot, command: Command, point: str, kind: str, *said: str) -> Outcome:
        """Wait for the end; compare the results with one machine, and check the messages."""
        ended = command.end()
        found = [*not_well(ended), *self.unlike(spot)]
        found += [
            f"it does not say {text!r}: {ended.said}" for text in said if text not in ended.said
        ]
        states = Counter(run.status for run in jobs_of(self.runs(spot)))
        again = f", {states['KILLED']} jobs begun again" if states["KILLED"] else ""
        return Outcome(f"{point}{again}, {ended.seconds:.0f} s in all", found, [kind])

    def unlike(self, spot: Spot) -> Iterator[str]:
        """The differences from the results on one machine."""
        yield from unlike(self.runs(spot), self.lab.reference, self.served)
        report = spot.folder / "outputs" / "reports" / "latest" / "report.json"
        yield from report_problems(report, self.lab.reference)

    def machines(self, spot: Spot) -> int:
        """How many workers have finished a job."""
        return len(
            {run.tags["pid"] for run in jobs_of(self.runs(spot)) if run.status == "FINISHED"}
        )
