"""Saved views of a sweep in MLflow's UI: its leaderboard, learning curves and parallel coordinates.

The UI opens a view that is stored as a tag of the experiment. The value is the state of the page of
the runs, as JSON, compressed by zlib and in base64. The names of its fields are those of mlflow
3.17.2 (`ExperimentPageUIState` and `ExperimentPageSearchFacetsState` in the source of the UI).
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from pipeline.tracking.entities import Sweep
from pipeline.tracking.errors import translate_errors
from pipeline.tracking.store import Store

TAG = "mlflow.sharedViewState."
RESULTS = ("best_val_acc", "best_val_loss", "best_epoch")  # columns after the swept values
CURVES = ("val_acc", "val_loss", "train_acc", "train_loss")
# Without this type, MLflow's UI opens its view for language models.
PAGE = "#/experiments/{}/runs?workflowType=machine_learning&compareRunsMode={}&viewStateShareKey={}"


class View(StrEnum):
    """A saved view. The value is the end of its key."""

    LEADERBOARD = "leaderboard"
    CURVES = "curves"
    PARALLEL = "parallel"


def view_page(sweep: Sweep, view: View) -> str:
    """The page of a view, as the part of its address after the host."""
    mode = "TABLE" if view is View.LEADERBOARD else "CHART"
    return PAGE.format(sweep.experiment_id, mode, _key(sweep, view))


@translate_errors("save the views of the sweep")
def save_views(store: Store, sweep: Sweep, swept: Sequence[str]) -> None:
    """Save the views of a sweep. All of them show its own jobs, the best first.

    Args:
        store: holds the sweep.
        sweep: the sweep.
        swept: the parameters in which its jobs differ.
    """
    columns = [f"params.`{name}`" for name in swept] + [f"metrics.`{name}`" for name in RESULTS]
    parallel = {"selectedParams": list(swept), "selectedMetrics": [RESULTS[0]]}
    states = {
        View.LEADERBOARD: {"selectedColumns": columns},
        View.CURVES: _charts([("LINE", _line(metric)) for metric in CURVES]),
        View.PARALLEL: _charts([("PARALLEL", parallel | {"showAllRuns": True})]),
    }
    for view, state in states.items():
        tag = f"{TAG}{_key(sweep, view)}"
        value = _encode(_filter(sweep) | {"selectedColumns": columns} | state)
        store.client.set_experiment_tag(sweep.experiment_id, tag, value)


def _key(sweep: Sweep, view: View) -> str:
    return f"{sweep.run_id}-{view}"


def _filter(sweep: Sweep) -> dict[str, Any]:
    return {
        "searchFilter": sweep.children,
        "orderByKey": f"metrics.`{RESULTS[0]}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
    }


def _line(metric: str) -> dict[str, Any]:
    scale = "log" if metric.endswith("loss") else "linear"
    return {"metricKey": metric, "selectedMetricKeys": [metric], "scaleType": scale}


def _charts(cards: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The state with these charts in one section."""
    section = "sweep"
    return {
        "compareRunCharts": [
            {
                **{"uuid": f"{section}-{number}", "type": kind, "metricSectionId": section},
                **{"deleted": False, "isGenerated": False, "runsCountToCompare": 10},
                **settings,
            }
            for number, (kind, settings) in enumerate(cards)
        ],
        "compareRunSections": [
            {"uuid": section, "name": "Sweep", "display": True, "isReordered": True}
        ],
        "isAccordionReordered": True,
        "runsHiddenMode": "FIRST_10_RUNS",
    }


def _encode(state: Mapping[str, Any]) -> str:
    compressed = zlib.compress(json.dumps(state, separators=(",", ":")).encode())
    return f"deflate;{base64.b64encode(compressed).decode()}"
