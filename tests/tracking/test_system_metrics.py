"""The load of the machine, in the run of a sweep."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import psutil
import pytest

from pipeline.execution.spec import RunContext
from pipeline.tracking.system_metrics import SystemMetrics
from tests.commands import store_of, succeed
from tests.conftest import SMALL, job, train

CPU, MEMORY = "system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"


def names(place: RunContext) -> set[str]:
    """The names of the metrics of the sweep's run."""
    assert place.sweep is not None
    return set(place.store.client.get_run(place.sweep.run_id).data.metrics)


def metrics_of(place: RunContext, ticks: Iterator[float]) -> SystemMetrics:
    assert place.sweep is not None
    return SystemMetrics(place.store, place.sweep.run_id, clock=lambda: next(ticks))


@pytest.fixture(autouse=True)
def no_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", raising=False)


def test_a_sweep_of_more_than_a_minute_records_its_load(place: RunContext, tmp_path: Path) -> None:
    """The clock advances by 100 seconds per look, and MLflow samples every 10 seconds."""
    context = replace(place, system_metrics=metrics_of(place, count(0.0, 100.0)))
    train([job(0, tmp_path, SMALL)], context)
    assert {CPU, MEMORY} <= names(place)
    assert "SystemMetricsMonitor" not in {thread.name for thread in threading.enumerate()}
    assert place.sweep is not None
    memory = place.store.client.get_metric_history(place.sweep.run_id, MEMORY)
    assert [metric.step for metric in memory] == list(range(len(memory)))
    assert all(0 < metric.value < psutil.virtual_memory().total / 1e6 for metric in memory)


def test_a_sweep_of_less_than_a_minute_records_none(place: RunContext) -> None:
    metrics = metrics_of(place, iter([0.0, 59.0]))
    metrics.sample()
    metrics.flush()
    assert names(place) == set()


def test_mlflows_switch_turns_the_measurement_off(
    place: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    metrics = metrics_of(place, iter([0.0, 1e9]))
    metrics.sample()
    metrics.flush()
    assert names(place) == set()


def test_wrong_value_of_mlflows_switch_costs_a_warning(
    place: RunContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "maybe")
    metrics = metrics_of(place, iter([0.0, 61.0, 61.0]))
    metrics.sample()
    metrics.flush()
    assert {CPU, MEMORY} <= names(place)
    assert "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING" in caplog.text


def test_a_machine_that_cannot_be_measured_costs_a_warning(
    place: RunContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(psutil, "net_io_counters", lambda: None)  # psutil without an interface
    metrics = metrics_of(place, count(0.0, 100.0))
    metrics.sample()
    metrics.sample()
    metrics.flush()
    assert names(place) == set()
    assert caplog.text.count("the load of the machine is not measured") == 1


def test_mlflows_switch_measures_a_short_sweep_of_the_command_line(tmp_path: Path) -> None:
    switch = {"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true"}
    words = ("-m", "hidden_size=8,16", "num_epochs=3")
    succeed(tmp_path / "outputs", *words, env=switch)
    store = store_of(tmp_path / "outputs")
    (parent,) = store.search("tags.kind = 'sweep'")
    assert {CPU, MEMORY} <= set(parent.data.metrics)
    assert not any(
        "system/" in name for run in store.search("tags.kind = 'job'") for name in run.data.metrics
    )
