"""Analyse a sweep: choose the best model, evaluate it, and measure how certain the choice is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from pipeline.analysis.artifacts import AnalysisError, load_hits
from pipeline.analysis.comparison import compare_runs
from pipeline.analysis.confidence import confidence_set
from pipeline.analysis.correction import Estimate, correct_selection
from pipeline.analysis.costs import costs, pareto
from pipeline.analysis.curves import epoch_optimism, shown_curves
from pipeline.analysis.diagnostics import diagnose
from pipeline.analysis.edges import find_edges
from pipeline.analysis.ensemble import find_ensemble
from pipeline.analysis.evaluation import ChosenModel, evaluate_best, test_reads
from pipeline.analysis.features import Features, measure_features
from pipeline.analysis.heatmap import Heatmap, log_error, make_heatmap, rank_values
from pipeline.analysis.importance import concentration, importance
from pipeline.analysis.intervals import difference_interval
from pipeline.analysis.paired import Hits
from pipeline.analysis.resources import measure_resources
from pipeline.analysis.result import Evidence, SweepAnalysis, SweepComparison, TestGap
from pipeline.analysis.runs import (
    NO_RESULT,
    num_lost_seeds,
    rank,
    selection_metric,
    swept_names,
    tabulate,
)
from pipeline.errors import PipelineError
from pipeline.nn.rates import Rates
from pipeline.outcomes import Outcome
from pipeline.selection import SelectBy
from pipeline.tracking import queries
from pipeline.tracking.entities import Sweep
from pipeline.tracking.store import Store
from pipeline.uris import redact


def analyse(store: Store, sweep: Sweep, *, read_test: bool = False) -> SweepAnalysis:
    """Analyse a sweep. If it is complete, the chosen model is evaluated on the test split.

    Args:
        store: holds the runs.
        sweep: the sweep. It is complete if as many jobs have ended as were planned when it started.
        read_test: whether to evaluate the chosen model of an incomplete sweep, too.

    Raises:
        PipelineError: the runs cannot be read.
    """
    runs = queries.sweep_runs(store, sweep)
    jobs = tabulate(runs)
    ranking = rank(jobs)
    jobs = jobs.loc[[*ranking.index, *jobs.index.difference(ranking.index)]]
    jobs.insert(0, "rank", pd.Series(range(1, len(ranking) + 1), ranking.index, "Int64"))
    ranking = jobs[jobs["rank"].notna()]
    unfinished = int((jobs["outcome"] == Outcome.UNFINISHED).sum())
    not_started = max(0, (sweep.num_jobs or 0) - len(jobs))
    is_complete = sweep.num_jobs is not None or sweep.has_succeeded
    final = read_test or (is_complete and not unfinished and not not_started)
    chosen, evidence, problem = None, None, None
    if len(ranking):
        chosen = evaluate_best(store, ranking.iloc[0], sweep.name, final=final)
    if chosen is not None:
        jobs.loc[ranking.index[0], "test_acc"] = chosen.best.test_acc
        jobs.loc[ranking.index[0], "num_test"] = chosen.best.num_test
        try:
            evidence = gather_evidence(store, jobs, ranking, sweep)
        except (PipelineError, ValueError, TypeError, KeyError) as error:  # a store holds anything
            problem = " ".join(str(error).split())
    gap, select_by = _test_gap(chosen, evidence), selection_metric(jobs)
    ensemble, problem_of_ensemble = find_ensemble(store, sweep, ranking, chosen, final=final)
    halted = Counter(jobs.loc[jobs["outcome"] == Outcome.HALTED, "halted_epoch"].astype(int))
    curves = shown_curves(store, jobs, ranking)
    return SweepAnalysis(
        sweep=sweep,
        jobs=jobs,
        select_by=select_by,
        counts={outcome: int((jobs["outcome"] == outcome).sum()) for outcome in Outcome},
        not_started=not_started,
        chosen=chosen,
        evidence=evidence,
        evidence_problem=problem,
        diagnostics=_diagnostics(chosen),
        test_gap=gap,
        num_lost_seeds=num_lost_seeds(jobs),
        resources=measure_resources(jobs, sweep),
        store_uri=redact(store.uri),
        weights=_weights(store, chosen),
        features=_features(chosen, select_by),
        curves=curves,
        heatmap=_heatmap(jobs, ranking, evidence, sweep),
        halted=dict(sorted(halted.items())),
        test_reads=test_reads(runs, jobs, sweep),
        epoch_optimism=epoch_optimism(curves[0]) if curves else None,
        ensemble=ensemble,
        ensemble_problem=problem_of_ensemble,
    )


def compare_sweeps(store: Store, first: SweepAnalysis, second: SweepAnalysis) -> SweepComparison:
    """Compare the chosen models of two sweeps."""
    if first.chosen is None or second.chosen is None:
        return SweepComparison(first, second, None, None)
    if first.chosen.best.run_id == second.chosen.best.run_id:
        return SweepComparison(first, second, None, None, same_run=True)
    ours, theirs = first.jobs.iloc[0], second.jobs.iloc[0]
    models, problem = None, None
    try:
        models = (
            compare_runs(store, ours, first.jobs, theirs),
            compare_runs(store, theirs, second.jobs, ours),
        )
    except PipelineError as error:
        problem = " ".join(str(error).split())
    return SweepComparison(first, second, models, problem)


def gather_evidence(
    store: Store, jobs: pd.DataFrame, ranking: pd.DataFrame, sweep: Sweep
) -> Evidence:
    """Compare the runs of a sweep on their validation images.

    Args:
        store: holds the runs.
        jobs: a row per run.
        ranking: the finished ones, best first (`rank`).
        sweep: the sweep of the runs.

    Raises:
        PipelineError: the runs have other validation images, or lack their predictions.
    """
    compared = jobs[jobs["outcome"].isin((Outcome.FINISHED, Outcome.HALTED))]
    if compared["dataset_digest"].nunique() > 1:
        raise AnalysisError(
            "they were trained on different data. Accuracies on different data do not show which "
            "model is better, so give each dataset a sweep of its own"
        )
    incomplete = _incomplete(jobs, ranking)
    competing = jobs[~jobs["configuration"].isin(incomplete)]
    models, hits = _candidates(store, competing)
    finished = (models["outcome"] == Outcome.FINISHED).to_numpy()
    confidence = confidence_set(models[finished], hits[finished])
    names = swept_names(compared)
    swept = [name for name in names if name != "data.name"]
    values = models[["configuration", *swept]].drop_duplicates("configuration")
    configurations = confidence.table.merge(values, on="configuration")
    tied = configurations["configuration"].isin(confidence.members)
    configurations["group"] = np.where(tied, "tied", "other")
    configurations.loc[0, "group"] = "chosen"
    epoch, comparable = at_equal_epochs(store, jobs, ranking)
    scale = log_error(comparable["best_val_acc"], int(comparable["num_val"].max()))
    errors = comparable.assign(log_error=-scale)
    best = models.iloc[0]
    started = jobs[jobs["num_val"].notna()]
    return Evidence(
        confidence=confidence,
        estimate=_estimate(models, hits),
        importance=importance(comparable, swept),
        log_importance=importance(errors, swept, "log_error"),
        concentration=concentration(comparable, sweep.searched),
        importance_epoch=epoch,
        comparable=comparable,
        edges=find_edges(started, {name: best[name] for name in swept}, swept, sweep.searched),
        num_duplicates=int(
            competing["outcome"].isin((Outcome.FINISHED, Outcome.HALTED)).sum() - len(models)
        ),
        num_incomplete=len(incomplete & set(compared["configuration"])),
        swept=swept,
        configurations=configurations,
        front=pareto(configurations, "cost", "mean"),
    )


def _estimate(models: pd.DataFrame, hits: Hits) -> Estimate:
    """The accuracy of the chosen configuration.

    The correction for the choice repeats the choice by accuracy, so that it is not valid for a
    choice by another metric. Then the estimate is not corrected.
    """
    if selection_metric(models) == "val_acc":
        return correct_selection(models, hits)
    return correct_selection(models, hits, resamples=0)


def _incomplete(jobs: pd.DataFrame, ranking: pd.DataFrame) -> set[int]:
    """The configurations that lost a seed and therefore do not compete with the complete ones.

    Empty if the chosen configuration has lost one, too.
    """
    lost = set(jobs.loc[jobs["outcome"].isin(NO_RESULT), "configuration"])
    return set() if ranking["configuration"].iloc[0] in lost else lost


def _heatmap(
    jobs: pd.DataFrame, ranking: pd.DataFrame, evidence: Evidence | None, sweep: Sweep
) -> Heatmap | None:
    """The heatmap of a grid. A search of intervals leaves most cells of a grid empty."""
    names = rank_values(jobs, evidence.log_importance.shares if evidence else None)
    if any(sweep.searched.get(name) for name in names):
        return None
    chosen = int(ranking.index[0]) if len(ranking) else None
    if evidence is None or evidence.importance_epoch is None:
        return make_heatmap(jobs, names, chosen)
    known = evidence.comparable
    jobs = jobs.assign(outcome=jobs["outcome"].mask(jobs.index.isin(known.index), Outcome.FINISHED))
    jobs.loc[known.index, "best_val_acc"] = known["best_val_acc"]
    return make_heatmap(jobs, names, chosen)


def _candidates(store: Store, jobs: pd.DataFrame) -> tuple[pd.DataFrame, Any]:
    """The models that competed, the chosen configuration first, and their hits (models, images).

    Finished models come in the order of `rank`, halted ones after them. Of equal jobs one counts.
    A halted model is expected to gain as much by the rest of its training as the finished models
    gained on average since the epoch of its rung.
    """
    ranking, halted = (jobs[jobs["outcome"] == end] for end in (Outcome.FINISHED, Outcome.HALTED))
    models = pd.concat([ranking, halted]) if len(halted) else ranking
    models = models.assign(gain=0.0)
    models = models.drop_duplicates(["configuration", "seed"])
    D, C = (int(models[key].iloc[0]) for key in ("num_features", "num_classes"))
    cost = costs(models, D, C)
    models = models.assign(cost=cost["prediction"].astype(int))
    for epoch in halted["halted_epoch"].astype(int).unique().tolist():
        gain = float((ranking["best_val_acc"] - _best_until(store, ranking, epoch)).mean())
        models.loc[models["halted_epoch"] == epoch, "gain"] = max(0.0, gain)
    pairs = zip(models["run_id"], models["num_val"], strict=True)
    return models, np.array([load_hits(store, id_, int(num_val)) for id_, num_val in pairs])


def at_equal_epochs(
    store: Store, jobs: pd.DataFrame, ranking: pd.DataFrame
) -> tuple[int | None, pd.DataFrame]:
    """The runs with their accuracy at the first rung of successive halving.

    Returns:
        The epoch of the rung, and the finished and halted runs that were to train so far, with
        their best_val_acc until then. Without halted runs, None and the finished runs unchanged.
    """
    halted = jobs["outcome"] == Outcome.HALTED
    if not halted.any():
        return None, ranking
    epoch = int(jobs.loc[halted, "halted_epoch"].min())
    runs = jobs[(halted | (jobs["outcome"] == Outcome.FINISHED)) & (jobs["num_epochs"] >= epoch)]
    return epoch, runs.assign(best_val_acc=_best_until(store, runs, epoch))


def _best_until(store: Store, runs: pd.DataFrame, epoch: int) -> list[float]:
    """The highest validation accuracy of each run in its first epochs."""
    curves = (queries.curves(store, run_id, ["val_acc"])["val_acc"] for run_id in runs["run_id"])
    return [float(curve.loc[:epoch].max()) for curve in curves]


def _test_gap(chosen: ChosenModel | None, evidence: Evidence | None) -> TestGap | None:
    """None for several seeds: their validation accuracy is a mean, the test accuracy is not."""
    if chosen is None or evidence is None or evidence.estimate.num_seeds > 1:
        return None
    best, estimate = chosen.best, evidence.estimate
    if best.test_acc is None or best.test_acc_ci95 is None:
        return None
    validation = estimate.corrected, estimate.low, estimate.high
    low, high = difference_interval(validation, (best.test_acc, *best.test_acc_ci95))
    return TestGap(estimate.corrected - best.test_acc, low, high)


def _weights(store: Store, chosen: ChosenModel | None) -> str | None:
    if chosen is None:
        return None
    return redact(f"{store.artifacts.uri_of(chosen.best.run_id)}/weights.npz")


def _diagnostics(chosen: ChosenModel | None) -> Any:
    if chosen is None or chosen.weights is None or chosen.data is None or chosen.job is None:
        return None
    values = chosen.job.hyperparameters
    rates = Rates([values], epochs=chosen.best.best_epoch - 1)
    rate = float(rates.learning_rate[0, 0, 0])
    return diagnose(chosen.weights, chosen.data, rate, values.l2_reg, values.batch_size)


def _features(chosen: ChosenModel | None, select_by: SelectBy) -> Features | None:
    """The influence of the features, unless the rows are images."""
    if chosen is None or chosen.weights is None or chosen.data is None or chosen.data.image_shape:
        return None
    return measure_features(chosen.weights, chosen.data, select_by)
