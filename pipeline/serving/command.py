"""The command python -m pipeline.promote."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipeline.errors import PipelineError
from pipeline.paths import default_tracking_uri
from pipeline.serving.card import size_of
from pipeline.serving.ensemble import promote_ensemble
from pipeline.serving.promotion import find, promote
from pipeline.streams import make_robust
from pipeline.tracking import queries
from pipeline.tracking.registry import ALIAS
from pipeline.tracking.store import Store


def main(arguments: Sequence[str] | None = None) -> None:
    """Promote a model; exit with 1 and one sentence if that is impossible."""
    make_robust()
    parser = argparse.ArgumentParser(
        prog="pipeline-promote",
        description="Register the chosen model of a sweep as the champion.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--sweep", metavar="ID", help="promote the best run of this sweep (default: the latest)"
    )
    which.add_argument("--run", metavar="ID", help="promote this run, not the best of a sweep")
    parser.add_argument(
        "--ensemble",
        action="store_true",
        help="promote the ensemble of the sweep's models, not the best of them",
    )
    parser.add_argument("--name", help="of the registered model (default: the name of the dataset)")
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace the champion in any case",
    )
    parser.add_argument("--tracking-uri", metavar="URI", default=default_tracking_uri())
    options = parser.parse_args(arguments)
    if options.ensemble and options.run is not None:
        parser.error("--ensemble is for a sweep: name it with --sweep in place of --run")
    try:
        store = Store.open_existing(options.tracking_uri)
        if options.ensemble:
            sweep = queries.find_sweep(store, options.sweep)
            champion, ensemble = promote_ensemble(store, sweep, options.name, force=options.force)
            promoted = f"the mean of {size_of(ensemble)}"
        else:
            run, candidates = find(store, options.run, options.sweep)
            champion = promote(store, run, options.name, force=options.force, candidates=candidates)
            promoted = str(run["name"])
    except PipelineError as error:
        sys.exit(str(error))
    address = f"models:/{champion.name}@{ALIAS}"
    print(f"{champion.name} version {champion.version} is the {ALIAS}: {promoted}")
    print(f'Load it with mlflow.pyfunc.load_model("{address}"), or serve it with pipeline-serve')
