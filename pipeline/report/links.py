"""Where the MLflow UI shows the runs of a sweep."""

from __future__ import annotations

import shlex

from pipeline.paths import IN_CHECKOUT, default_tracking_uri
from pipeline.uris import redact

# Without this type, MLflow's UI opens its view for language models.
RUNS_PAGE = "#/experiments/{}/runs?workflowType=machine_learning"


def runs_page(uri: str, experiment_id: str) -> str:
    """The command that starts the UI of a store, if it has no server, and the address of the runs.

    Args:
        uri: of the store.
        experiment_id: of the runs.
    """
    page = RUNS_PAGE.format(experiment_id)
    if uri.startswith("http"):
        return f"{redact(uri.rstrip('/'))}/{page}"
    server = "make ui" if IN_CHECKOUT else "pipeline-ui"
    if uri != default_tracking_uri():
        server = f"pipeline-ui --tracking-uri {shlex.quote(redact(uri))}"
    return f"{server}, then http://127.0.0.1:5000/{page}"
