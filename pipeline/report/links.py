"""Where the MLflow UI shows the runs of a sweep."""

from __future__ import annotations

import shlex
from urllib.parse import quote

from pipeline.paths import IN_CHECKOUT, default_tracking_uri
from pipeline.tracking.entities import Sweep
from pipeline.tracking.views import View, view_page
from pipeline.uris import redact

LOCAL_UI = "http://127.0.0.1:5000"  # the address of `make ui`


def leaderboard(uri: str, sweep: Sweep) -> str:
    """The command that starts the UI of a store, if it has no server, and where a sweep is shown.

    Args:
        uri: of the store.
        sweep: whose leaderboard is meant.
    """
    page = view_page(sweep, View.LEADERBOARD)
    command = ui_command(uri)
    address = LOCAL_UI if command else redact(uri.rstrip("/"))
    return f"{command}, then {address}/{page}" if command else f"{address}/{page}"


def ui_command(uri: str) -> str:
    """The command that starts the UI of a store; empty for a store that has a server."""
    if uri.startswith("http"):
        return ""
    if uri != default_tracking_uri():
        return f"pipeline-ui --tracking-uri {shlex.quote(redact(uri))}"
    return "make ui" if IN_CHECKOUT else "pipeline-ui"


def run_address(uri: str, experiment_id: str, run_id: str) -> str:
    """The address of a run in the MLflow UI.

    Args:
        uri: of the store; a password in it is left out.
        experiment_id: of the run.
        run_id: the run.
    """
    address = redact(uri.rstrip("/")).replace("***@", "") if uri.startswith("http") else LOCAL_UI
    return f"{address}/#/experiments/{quote(experiment_id)}/runs/{quote(run_id)}"
