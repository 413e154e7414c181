"""Registers the best model of a sweep as the champion.

The new model replaces the current champion of the registered model only if it is significantly
better.
"""

from __future__ import annotations

import shlex
from typing import Any

import pandas as pd

from pipeline.analysis.artifacts import AnalysisError, read_config
from pipeline.analysis.comparison import class_weights, compare_runs
from pipeline.analysis.runs import rank, tabulate
from pipeline.config import Job
from pipeline.data.kinds import read_raw
from pipeline.data.preprocessing import digest, digest_of_test
from pipeline.data.raw import RawDataset
from pipeline.errors import PipelineError
from pipeline.report.formatting import percent
from pipeline.serving.card import card
from pipeline.serving.package import check_accuracy, example_of, model_arrays
from pipeline.serving.trust import check_code
from pipeline.tracking import queries
from pipeline.tracking.entities import Sweep
from pipeline.tracking.registry import ALIAS, Champion, Registry
from pipeline.tracking.store import Store

SEARCHED = 20  # sweeps in which a message looks for a finished model


def promote(
    store: Store,
    run: pd.Series[Any],
    name: str | None = None,
    *,
    force: bool = False,
    candidates: pd.DataFrame | None = None,
) -> Champion:
    """Register the model of a finished run as the champion.

    Args:
        store: the store of the run.
        run: a row of `tabulate`.
        name: of the registered model; None: the name of the dataset.
        force: replace the champion in any case.
        candidates: the runs among which the run was selected; None: it was the only one.

    Returns:
        The new champion. The registry has loaded it, and it has reproduced the validation accuracy
        of its run. The alias moves only then.

    Raises:
        PipelineError: the files of the run cannot be read, its model is not significantly better
            than the champion, its dataset has changed, or the registered model differs.
    """
    registry = Registry(store)
    name = name or run["dataset"]
    champion = registry.champion(name)
    if champion is not None and champion.run_id == run["run_id"]:
        return champion
    if champion is not None and not force:
        check_better(store, run, candidates, champion)
    job = read_config(store, run["run_id"])
    raw = read_raw(job.data)
    check_data(run, raw, job)
    text = card(run, job, raw)
    arrays = model_arrays(store, run["run_id"], raw)
    new = registry.register(name, run["run_id"], arrays, example_of(raw), text)
    try:
        check_accuracy(registry.load(new, check_code), raw, run["best_val_acc"])
    except PipelineError:
        registry.delete(new)
        raise
    registry.make_champion(new, text)
    return new


def check_data(run: pd.Series[Any], raw: RawDataset, job: Job) -> None:
    """Check that the dataset is the one on which a run was trained.

    Raises:
        AnalysisError: its files have changed.
    """
    found, expected, split = digest(raw), run["dataset_digest"], ""
    if found == expected and isinstance(run["test_digest"], str):
        found, expected = digest_of_test(raw) or run["test_digest"], run["test_digest"]
        split = "test "
    if found != expected:
        raise AnalysisError(
            f"the {split}files of {job.data.name} have changed since {run['name']} was trained "
            f"(digest {found}, not {expected}): restore the files in "
            f"{job.data.dir or job.data.file or 'the cache folder'}, or train again"
        )


def describe_champion(champion: Champion) -> str:
    """The version of the current champion in words."""
    return f"version {champion.version} of {champion.name}, the current {ALIAS}"


def check_better(
    store: Store, run: pd.Series[Any], candidates: pd.DataFrame | None, champion: Champion
) -> None:
    """Compare a model with the champion on the validation rows, as the report does.

    With select_by=balanced_acc the test compares balanced accuracies, otherwise accuracies.

    Raises:
        AnalysisError: the two models cannot be compared, or the new one is not significantly
            better.
    """
    label = describe_champion(champion)
    try:
        old = tabulate(queries.single_run(store, champion.run_id)).iloc[0]
        others = run.to_frame().T if candidates is None else candidates
        weights = None
        if run["select_by"] == "balanced_acc":
            weights = class_weights(read_raw(read_config(store, run["run_id"]).data).val.labels)
        found = compare_runs(store, run, others, old, weights)
    except PipelineError as error:
        raise AnalysisError(
            f"{label}, cannot be compared with the new model ({error}): add --force to replace it"
        ) from error
    if not found.is_better:
        name, accuracy = "validation accuracy", float(run["best_val_acc"])
        if weights is not None:
            name, accuracy = "balanced accuracy", float(run["best_balanced_acc"])
        raise AnalysisError(
            f"{run['name']} does not replace {label}: its {name} is {percent(accuracy)} against "
            f"{percent(accuracy - found.difference)}, which is not "
            f"significantly better (the best of {found.num_candidates} on the same validation "
            f"rows, p = {found.p_value:.2g} with a correction for that choice; a difference of one "
            f"point needs about {found.images_for_one_point:,} validation rows): add --force to "
            "replace it anyway"
        )


def find(
    store: Store, run_id: str | None, sweep: str | None
) -> tuple[pd.Series[Any], pd.DataFrame]:
    """Find the run to promote, by its ID or the best of a sweep, and all runs of its sweep.

    Raises:
        PipelineError: there is no such run, or it has not finished.
    """
    if run_id is not None:
        jobs = tabulate(queries.single_run(store, run_id))
        problem = f"run {run_id} is no finished model: promote another one with --run or --sweep"
    else:
        found = queries.find_sweep(store, sweep)
        jobs = tabulate(queries.sweep_runs(store, found))
        problem = ""
    ranking = rank(jobs)
    if not len(ranking):
        raise AnalysisError(problem or no_finished_model(store, found))
    own_sweep = ranking["sweep"].iloc[0]
    if run_id is not None and isinstance(own_sweep, str):
        jobs = tabulate(queries.sweep_runs(store, queries.find_sweep(store, own_sweep)))
    return ranking.iloc[0], jobs


def no_finished_model(store: Store, sweep: Sweep) -> str:
    """A sentence about a sweep without a finished model, with the latest sweep that has one."""
    for other in queries.latest_sweeps(store, SEARCHED):
        if other.name != sweep.name and len(rank(tabulate(queries.sweep_runs(store, other)))):
            return (
                f"sweep {sweep.name} has no finished model: the latest sweep that has one is "
                f"{other.name}; promote its best model with --sweep {shlex.quote(other.name)}"
            )
    return (
        f"sweep {sweep.name} has no finished model, and neither has a recent one: correct the "
        "values of the sweep, then start it again"
    )
