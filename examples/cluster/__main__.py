"""python -m examples.cluster [--seed N] [--kills N] [--all]: a sweep on a small real cluster."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from examples.cluster.servers import mlflow_uri, postgres
from examples.cluster.site import Site
from examples.cluster.trials import kinds
from tests.torture.lab import Lab, prepare
from tests.torture.server import Server
from tests.torture.trials import Choice, Row, do

# Of 16 models 8 diverge in their sixth epoch; the others train for some seconds each.
SWEEP = ("-m", "hidden_size=64,128", "l2_reg=1e-4,3.5", "learning_rate=0.3", "seed=0,1,2,3")
LONG = ("learning_rate_decay=0.999", "batch_size=20", "num_epochs=100")


def main() -> None:
    """Run the trials, print a table, and exit with 1 if one has failed."""
    parser = argparse.ArgumentParser(prog="python -m examples.cluster", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of every point (default: 0)")
    parser.add_argument("--kills", type=int, default=1, help="sweeps with a kill (default: 1)")
    parser.add_argument("--all", action="store_true", help="more than calm and kill")
    parser.add_argument("--only", default="", metavar="NAME", help="a kind, a trial: kill, kill-7")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # stops the servers too
    with tempfile.TemporaryDirectory(prefix="cluster-demo-") as name:
        rows = list(_rows(Path(name), options))
    sys.exit(any(row.failures for row in rows))


def _rows(root: Path, options: argparse.Namespace) -> Iterator[Row]:
    with postgres(root / "postgres") as database:
        print("PostgreSQL runs; mlflow server creates its tables", flush=True)
        server = Server(root / "mlflow", mlflow_uri(database))
        try:
            lab = prepare(root, (*SWEEP, *LONG), times=1)
            print(f"on one machine: {_results(lab)}, {lab.seconds:.0f} s", flush=True)
            site = Site(lab, database, server.url, root / "mlflow" / "artifacts")
            few = not options.all and not options.only
            choice = Choice(options.seed, quick=False, only=options.only)
            wanted = kinds(site, options.kills)[: 2 if few else None]
            rows = do(wanted, lab, choice, until=math.inf, at_once=1)
            print(*_table(rows), sep="\n")
            yield from rows
        finally:
            server.kill()


def _results(lab: Lab) -> str:
    outcomes = Counter(job.outcome for job in lab.reference.values())
    return ", ".join(f"{count} models {outcome}" for outcome, count in outcomes.items())


def _table(rows: Sequence[Row]) -> Iterator[str]:
    yield "| Disturbance | Trials | Passed | Requirement | When |"
    yield "|---|---|---|---|---|"
    for row in rows:
        if row.done:
            bad = len({failure.partition(" | ")[0] for failure in row.failures})
            points = ", ".join(f"{count} {point}" for point, count in row.points.most_common())
            yield (
                f"| {row.kind.done} (`{row.kind.name}`) | {row.done} | {row.done - bad} "
                f"| {row.kind.held} | {points} |"
            )


if __name__ == "__main__":
    main()
