"""A sweep on a real Dask cluster: equal bits, lost workers, and error messages."""

from __future__ import annotations

import itertools
import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from signal import SIGTERM
from types import SimpleNamespace
from typing import Any

import pytest

from examples.cluster.servers import Cluster, dask, free_port
from pipeline import shutdown
from pipeline.config import DataConfig
from pipeline.data.dataset import Dataset
from pipeline.errors import PipelineError
from pipeline.execution.dask import scheduler, worker
from pipeline.execution.dask.backend import DaskBackend
from pipeline.execution.dask.environment import environment
from pipeline.execution.dask.task import Task
from pipeline.execution.datasets import Datasets
from pipeline.execution.spec import RunContext
from pipeline.hyperparameters import HYPERPARAMETERS, Hyperparameters
from pipeline.tracking import cleanup, queries
from pipeline.tracking.store import Store
from tests.conftest import DIGITS, SMALL, TRACKING, job, train
from tests.torture.command import Command
from tests.torture.results import Job, jobs_of, read_runs, results, unlike
from tests.torture.server import Server

GRID = ("-m", "hidden_size=32,64", "l2_reg=1e-4,3.5", "learning_rate=0.3", "seed=0,1")
SWEEP = (*GRID, "learning_rate_decay=0.999", "batch_size=20", "num_epochs=40")
SHORT = replace(SMALL, learning_rate_decay=0.999, batch_size=20, num_epochs=40)
URI = "http://127.0.0.1:1"
KERNELS = "Sandybridge" if environment()["BLAS"].endswith("Haswell") else "Haswell"  # not these


@dataclass(frozen=True)
class Site:
    """A sweep's results on one machine, a tracking server, and a cluster of three workers."""

    reference: Mapping[str, Job]
    server: Server
    cluster: Cluster

    @property
    def database(self) -> Path:
        return self.server.folder / "mlflow.db"

    def start(self, outputs: Path, *sweep: str) -> Command:
        return Command(
            outputs,
            *sweep,
            f"tracking.uri={self.server.url}",
            f"tracking.experiment={outputs.parent.name}",
            "hydra.launcher.backend=dask",
            f"hydra.launcher.scheduler={self.cluster.address}",
        )

    def running(self) -> int:
        return sum(run.status == "RUNNING" for run in jobs_of(read_runs(self.database)))


def wait_until(true: Callable[[], Any], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "the condition does not become true"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("cluster")
    place = root / "server"
    with ThreadPoolExecutor() as pool, dask(root / "cluster", 0) as cluster:
        server = pool.submit(Server, place, f"sqlite:///{place}/mlflow.db")
        for more in ({}, {}, {"OPENBLAS_CORETYPE": KERNELS}):
            cluster.add_worker(more=more)
        try:
            yield Site(on_one_machine(root), server.result(), cluster)
        finally:
            server.result().kill()


def as_in_conf(values: Mapping[str, Any]) -> dict[str, Any]:
    """Default values are logged as conf/config.yaml writes them: momentum 0, not 0.0."""
    defaults = {name: each.traits.default for name, each in HYPERPARAMETERS.items()}
    return {
        name: defaults[name] if defaults.get(name) == value else value
        for name, value in values.items()
    }


def on_one_machine(root: Path) -> Mapping[str, Job]:
    """The results of the sweep, trained in this process."""
    grid = itertools.product((32, 64), (1e-4, 3.5), (0, 1))
    jobs = [
        replace(SHORT, hidden_size=hidden_size, l2_reg=l2_reg, seed=seed)
        for hidden_size, l2_reg, seed in grid
    ]
    store = Store(f"sqlite:///{root}/alone.db")
    experiment = store.ensure_experiment("digits")
    place = RunContext(store, experiment, store.start_sweep(experiment, "alone", "…"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_OUTPUTS", str(root))
        specs = [job(i, root / str(i), values) for i, values in enumerate(jobs)]
        train([replace(spec, values=as_in_conf(spec.values)) for spec in specs], place)
    return results(root / "alone.db")


def test_a_cluster_sweep_has_the_bits_of_one_machine_when_a_worker_dies(
    site: Site, tmp_path: Path
) -> None:
    command = site.start(tmp_path / "outputs", *SWEEP)
    wait_until(site.running)
    site.cluster.workers[0].kill()
    ended = command.end()
    assert (ended.code, "Traceback" in ended.said) == (0, False), ended.said
    assert "8 jobs: 4 finished, 4 diverged" in ended.said
    assert re.search(f"is not used: its BLAS is .* {KERNELS}, not ", ended.said)
    runs = read_runs(site.database)
    assert list(unlike(runs, site.reference, site.server.folder / "artifacts")) == []
    (log,) = (tmp_path / "outputs" / "multirun").glob("*/7/pipeline.log")
    assert "diverged in epoch" in log.read_text()


def test_a_stopped_sweep_stops_its_workers(site: Site, tmp_path: Path) -> None:
    """10,000 epochs would take longer than the test."""
    command = site.start(tmp_path / "outputs", *SWEEP[:-1], "num_epochs=10000", "l2_reg=0")
    wait_until(site.running)
    command.signal(SIGTERM, group=False)
    ended = command.end()
    assert (ended.code, "Traceback" in ended.said) == (143, False), ended.said
    assert "stopped; to resume: python -m pipeline -m" in ended.said
    wait_until(lambda: not site.running())
    outputs = (site.cluster.folder / f"worker-{i}" / "outputs" for i in range(3))
    wait_until(lambda: any((folder / "checkpoints").glob("*.npz") for folder in outputs))


def test_a_scheduler_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "CONNECT_SECONDS", 0.2)
    backend = DaskBackend(f"tcp://127.0.0.1:{free_port()}")
    with pytest.raises(PipelineError, match=r"no Dask scheduler answers at .*: start"), backend:
        pytest.fail("it connected")


def test_without_the_extra_one_sentence_says_what_to_install() -> None:
    code = "import sys; sys.modules['distributed'] = None; import pipeline.execution.dask.scheduler"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install -e '.[cluster]'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"environment": {"NumPy": "1.0"}}, "its NumPy is .*, not 1.0: install the same"),
        ({"environment": {"pipeline/": "0"}}, "start it again from the same checkout"),
        ({"environment": {"NumPy's kernels": "0"}}, "set NPY_DISABLE_CPU_FEATURES"),
        ({"digest": "0"}, "its copy of digits holds other data"),
        ({"data": DataConfig("cifar10", "/nowhere", None, {})}, "/nowhere"),
        ({"tracking_uri": URI}, "the MLflow store at tracking.uri=.* cannot be opened"),
    ],
)
def test_a_worker_says_why_it_is_not_fit(
    change: dict[str, Any],
    said: str,
    place: RunContext,
    digits: Dataset,
    hyper: Callable[..., Hyperparameters],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "STORE_SECONDS", 0)
    data = asdict(change.pop("data", DIGITS))
    values = {**asdict(hyper()), "data": data, "tracking": TRACKING}
    sweep = place.sweep
    assert sweep is not None
    task = Task(
        "0", ((0, values),), place.store.uri, "0", sweep, digits.digest, environment(), None
    )
    unfit = worker._reason_unfit(replace(task, **change), Datasets())
    assert re.search(said, unfit)
    assert bool(said) == bool(unfit)


def test_a_job_that_began_twice_is_one_row_of_the_report(place: RunContext) -> None:
    store, sweep = place.store, place.sweep
    assert sweep is not None
    ids = [
        store.start_run(place.experiment_id, "", {"job": number, "shard": "a"}, sweep)
        for number in ("0", "0", "0", "1", "2", "2")
    ]
    for run_id, status in zip(
        ids, ("FINISHED", "FINISHED", "", "", "KILLED", "KILLED"), strict=True
    ):
        if status:
            store.end_run(run_id, status)
    assert cleanup.claim_shard(store, sweep, "b") == {}
    began = [store.client.get_run(run_id).info.start_time for run_id in ids[:2]]
    claimed = {job: run.run_id for job, run in cleanup.claim_shard(store, sweep, "a").items()}
    # Of two runs that began in the same millisecond, either is the oldest.
    assert claimed == {0: ids[0]} or (claimed == {0: ids[1]} and began[0] == began[1])
    rows = queries.sweep_runs(store, sweep)
    assert list(rows["tags.job"]) == ["0", "1", "2"]
    assert list(rows["status"]) == ["FINISHED", "KILLED", "KILLED"]
    store.start_run(place.experiment_id, "", {"job": "3"}, sweep)
    cleanup.kill_running_jobs(store, sweep)
    assert list(queries.sweep_runs(store, sweep)["status"]) == [
        "FINISHED",
        "KILLED",
        "KILLED",
        "KILLED",
    ]


def test_work_is_stopped_when_its_result_is_not_wanted() -> None:
    with shutdown.cancel_when(lambda: False):
        shutdown.check()
    with shutdown.cancel_when(lambda: True), pytest.raises(shutdown.Stopped):
        shutdown.check()
    shutdown.check()


@pytest.mark.parametrize(
    ("limit", "memory", "expected"),
    [(10**9, None, 600_000_000), (None, None, None), (10**9, 123, 123), (None, 123, 123)],
)
def test_a_worker_uses_a_share_of_its_memory_limit(
    limit: int | None, memory: int | None, expected: int | None
) -> None:
    machine: Any = SimpleNamespace(memory_manager=SimpleNamespace(memory_limit=limit))
    task: Any = SimpleNamespace(memory=memory)
    assert worker._memory(machine, task) == expected


def test_an_error_on_a_worker_becomes_the_problem_of_the_shard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> str:
        raise ZeroDivisionError("no image")

    tasks = {"key": SimpleNamespace(state="executing")}
    machine = SimpleNamespace(status=worker.ACTIVE[0], state=SimpleNamespace(tasks=tasks))
    monkeypatch.setattr(worker, "get_worker", lambda: machine)
    monkeypatch.setattr(worker, "_reason_unfit", fail)
    task: Any = None
    problem = worker.train_shard(task, "key").problem
    assert problem.startswith("no image\nTraceback")
    assert problem.rstrip().endswith("ZeroDivisionError: no image")


def test_messages_of_dask_are_not_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    monkeypatch.setattr(scheduler, "CONNECT_SECONDS", 0.1)
    with pytest.raises(PipelineError, match="no Dask scheduler answers"):
        scheduler.Scheduler(f"tcp://127.0.0.1:{free_port()}")
    for logger in loggers:
        logger.error("lost the connection")
    assert not [record for record in caplog.records if record.name.startswith("distributed")]
