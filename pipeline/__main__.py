"""The command `python -m pipeline`: streams and signals, then the Hydra app."""

from __future__ import annotations

import gc
import signal
import sys

from pipeline.streams import make_robust


def main() -> None:
    """Run the app in a session and exit with its code."""
    # Ctrl-C while the libraries load ends the process without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Importing creates about 500,000 permanent objects. Scanning them for garbage takes a second.
    gc.set_threshold(100_000)
    make_robust()

    from pipeline.app import app
    from pipeline.session import Session

    sys.exit(Session(sys.argv[1:]).run(app))


if __name__ == "__main__":
    main()
