"""The MLflow UI of a store: pipeline-ui [--port PORT] [--tracking-uri URI]."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence

from pipeline.errors import PipelineError
from pipeline.paths import default_tracking_uri
from pipeline.streams import make_robust

HOST = "127.0.0.1"
# Without the workflow type, the UI opens on its view of language models.
PAGE = "#/experiments?workflowType=machine_learning"
# Without job execution and with one worker, the server starts in half the time and a fifth of the
# memory.
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def server_command(uri: str, port: int) -> list[str]:
    """The command that serves the runs of a store on this machine.

    MLflow reads the URI of the store from MLFLOW_BACKEND_STORE_URI. An argument with a password
    would be visible in the list of processes.
    """
    from pipeline.tracking.sqlite import database_path  # imports MLflow: --help does not need it

    artifacts = database_path(uri).parent / "mlartifacts"
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)),
        *("--workers", "1", "--artifacts-destination", str(artifacts)),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the UI until Ctrl-C."""
    make_robust()
    parser = argparse.ArgumentParser(
        prog="pipeline-ui", description="Show the runs of a store in the MLflow UI."
    )
    parser.add_argument("--port", type=int, default=5000, help="(default: 5000)")
    parser.add_argument("--tracking-uri", metavar="URI", default=default_tracking_uri())
    options = parser.parse_args(arguments)
    if options.tracking_uri.startswith("http"):
        sys.exit(f"{options.tracking_uri} is a server that shows its own UI: open it in a browser")
    from pipeline.tracking.store import Store  # imports MLflow: --help does not need it

    try:
        Store.open_existing(options.tracking_uri)  # MLflow would create a store that does not exist
        socket.create_server(("127.0.0.1", options.port)).close()
    except PipelineError as error:
        sys.exit(str(error))
    except (OSError, OverflowError) as error:
        sys.exit(
            f"the UI cannot listen on port {options.port} of {HOST} ({error}): choose another "
            "port with --port, or with make ui PORT=…"
        )
    print(f"Open http://{HOST}:{options.port}/{PAGE} in a browser. Ctrl-C stops the server.")
    sys.stdout.flush()
    command = server_command(options.tracking_uri, options.port)
    store = {"MLFLOW_BACKEND_STORE_URI": options.tracking_uri}
    os.execve(command[0], command, os.environ | ENVIRONMENT | store)


if __name__ == "__main__":
    main()
