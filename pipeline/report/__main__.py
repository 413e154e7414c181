"""python -m pipeline.report [--sweep ID] [--against ID] [--test] [--tracking-uri URI]."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipeline.errors import PipelineError
from pipeline.paths import default_tracking_uri, outputs_dir
from pipeline.report.write import write_report
from pipeline.streams import make_robust
from pipeline.tracking import queries
from pipeline.tracking.store import Store


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report of a sweep; exit with 1 if that is impossible or no model was chosen."""
    make_robust()
    parser = argparse.ArgumentParser(
        prog="pipeline-report", description="Write the report of a sweep."
    )
    parser.add_argument("--sweep", metavar="ID", help="the sweep (default: the latest)")
    parser.add_argument("--against", metavar="ID", help="another sweep to compare with")
    parser.add_argument(
        "--test", action="store_true", help="read the test split of an incomplete sweep, too"
    )
    parser.add_argument("--tracking-uri", metavar="URI", default=default_tracking_uri())
    options = parser.parse_args(arguments)
    try:
        store = Store.open_existing(options.tracking_uri)
        sweep = queries.find_sweep(store, options.sweep)
        against = queries.find_sweep(store, options.against) if options.against else None
        folder = outputs_dir() / "reports"
        report = write_report(store, sweep, folder, against, read_test=options.test)
    except PipelineError as error:
        sys.exit(str(error))
    print(*report.lines, sep="\n")
    sys.exit(report.best is None)


if __name__ == "__main__":
    main()
