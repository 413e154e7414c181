"""The time of a run with MLflow on PostgreSQL: python -m examples.cluster.throughput [--runs N]."""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import psycopg2

from examples.cluster.servers import mlflow_uri, postgres
from pipeline.tracking.entities import DatasetInfo, Point
from pipeline.tracking.store import Store
from tests.torture.server import Server

EPOCHS = 30
CURVES = ("train_loss", "train_acc", "val_loss", "val_acc")
BEST = ("best_val_acc", "best_val_loss", "best_epoch")
DATABASE = "SELECT pg_database_size(current_database())"
TABLES = """SELECT relname, pg_total_relation_size(relid), n_live_tup
FROM pg_stat_user_tables ORDER BY 2 DESC LIMIT 4"""


def client(url: str, runs: int) -> float:
    """Log runs as a job of a sweep does that is done at once; returns the seconds."""
    store = Store(url)
    sweep = store.start_sweep(store.ensure_experiment("throughput"), f"{time.time_ns()}", "…")
    params = {f"param_{i}": "0.001" for i in range(10)}
    tags = {"job": "0", "fingerprint": "0" * 32, "dataset": "digits", "dataset_digest": "0" * 32}
    dataset = DatasetInfo("digits", "0" * 32, "scikit-learn", "{}")
    now = time.time_ns() // 1_000_000
    points = [Point(i, now + i, dict.fromkeys(CURVES, 0.1 * i)) for i in range(1, EPOCHS + 1)]
    points.append(Point(EPOCHS, now, dict.fromkeys(BEST, 0.9)))
    with tempfile.TemporaryDirectory() as name:
        Path(name, "config.yaml").write_text("hidden_size: 128\n" * 30)
        np.savez(Path(name, "weights.npz"), W1=np.zeros((64, 128), np.float32))
        np.savez(Path(name, "val_hits.npz"), bits=np.zeros(45, np.uint8))
        began = time.monotonic()
        for _ in range(runs):
            run_id = store.start_run(sweep.experiment_id, "H=128", tags, sweep)
            store.artifacts.upload(run_id, Path(name))
            outcome = {"outcome": "finished"}
            store.log(run_id, points, params, outcome, dataset=dataset, status="FINISHED")
    return time.monotonic() - began


def main() -> None:
    """Start the servers, log runs by some clients at once, and print what that took."""
    parser = argparse.ArgumentParser(prog="python -m demo.throughput", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="of each client (default: 200)")
    parser.add_argument("--clients", type=int, default=2, help="at once (default: 2)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="throughput-") as name:
        root = Path(name)
        with postgres(root / "postgres") as database:
            server = Server(root / "mlflow", mlflow_uri(database))
            try:
                _measure(server.url, database, options.runs, options.clients)
            finally:
                server.kill()


def _measure(url: str, database: str, runs: int, clients: int) -> None:
    Store(url).ensure_experiment("throughput")
    with ProcessPoolExecutor(clients, get_context("spawn")) as pool:
        list(pool.map(client, [url] * clients, [1] * clients))  # whose imports do not count
        before, used = _size(database), _processor_time()
        seconds = max(pool.map(client, [url] * clients, [runs] * clients))
        used = {kind: time_ - used[kind] for kind, time_ in _processor_time().items()}
    total = runs * clients
    print(f"{total} runs by {clients} clients: {total / seconds:.1f} a second")
    for kind, time_ in used.items():
        print(f"{1000 * time_ / total:.1f} ms of processor time a run: {kind}")
    print(f"{(_size(database) - before) / total / 1000:.1f} kB of the database a run")
    with closing(psycopg2.connect(database)) as store:
        cursor = store.cursor()
        cursor.execute(TABLES)
        for table, size, rows in cursor.fetchall():
            print(f"{table}: {size / 1e6:.1f} MB, {rows} rows")


def _processor_time() -> dict[str, float]:
    """Seconds that the servers and the clients have computed so far."""
    used = {"PostgreSQL": 0.0, "mlflow server": 0.0, "clients": 0.0}
    for process in psutil.Process().children(recursive=True):
        words = " ".join(process.cmdline())
        kind = "mlflow server" if "mlflow" in words else "clients"
        used["PostgreSQL" if "postgres" in process.name() else kind] += sum(process.cpu_times()[:2])
    return used


def _size(database: str) -> int:
    with closing(psycopg2.connect(database)) as store:
        cursor = store.cursor()
        cursor.execute(DATABASE)
        return int(cursor.fetchall()[0][0])


if __name__ == "__main__":
    main()
