"""What speaks for the choice: who else could be best, what mattered, and what to try next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.analysis.choice import (
    PARAMS,
    Best,
    ReportError,
    configuration,
    rank,
    read_arrays,
    records,
)
from pipeline.analysis.importance import Importance, importance
from pipeline.analysis.significance import Correction, Verdict, compare, correct
from pipeline.analysis.suggestions import Edge, costs, edges, pareto
from pipeline.errors import PipelineError
from pipeline.report.tables import percent
from pipeline.tracking import queries
from pipeline.tracking.entities import Sweep
from pipeline.tracking.store import Store

NAMED = 5  # values, pairs or configurations that a sentence lists


@dataclass(frozen=True)
class Evidence:
    """The statistics of a sweep's finished runs."""

    verdict: Verdict
    correction: Correction
    importance: Importance
    importance_epoch: int | None  # that it is about, where jobs were halted; None: the best of all
    edges: Sequence[Edge]
    swept: Sequence[str]  # the hyperparameters in which the runs differ, the seed apart
    configurations: pd.DataFrame  # the verdict's table, with the columns of `swept` and its group
    front: pd.DataFrame  # those of them that no other beats in both cost and accuracy


def gather_evidence(store: Store, jobs: pd.DataFrame, best: Best, sweep: Sweep) -> Evidence:
    """Compare the finished runs of a sweep on their validation images.

    Args:
        store: holds the runs.
        jobs: a row a run.
        best: the chosen one of them.
        sweep: whose runs they are.

    Raises:
        PipelineError: the runs do not compare, or do not say which images they predict right.
    """
    ranking = rank(jobs)
    if ranking["dataset_digest"].nunique() > 1:
        raise ReportError("the models were trained on different data: they do not compare")
    D, C = (int(ranking[key].iloc[0]) for key in ("num_features", "num_classes"))
    cost = costs(ranking, D, C)
    columns = ["seed", "best_val_acc", "best_val_loss"]
    epoch, comparable = at_equal_epochs(store, jobs)
    names = names_of(jobs[jobs["outcome"].isin(("finished", "halted"))])
    models = ranking[columns].assign(
        configuration=configuration(ranking, names), cost=cost["prediction"]
    )
    models = models.drop_duplicates(["configuration", "seed"])  # a sweep may hold a job twice
    hits = np.array(
        [load_hits(store, id_, best.num_val) for id_ in ranking.loc[models.index, "run_id"]]
    )
    swept = [name for name in names if name != "data.name"]
    started = jobs[jobs["num_val"].notna()]
    chosen = ranking.iloc[0]
    verdict = compare(models, hits)
    configurations = verdict.table.merge(
        ranking[swept]
        .assign(configuration=models["configuration"])
        .drop_duplicates("configuration"),
        on="configuration",
    )
    alike = configurations["configuration"].isin(verdict.together)
    configurations["group"] = np.where(alike, "alike", "other")
    configurations.loc[configurations["configuration"] == verdict.chosen, "group"] = "chosen"
    return Evidence(
        verdict=verdict,
        correction=correct(models, hits),
        importance=importance(comparable, swept),
        importance_epoch=epoch,
        edges=edges(
            *(started, {name: chosen[name] for name in swept}, swept, sweep.command),
            sweep.searched,
        ),
        swept=swept,
        configurations=configurations,
        front=pareto(configurations, "cost", "mean"),
    )


def at_equal_epochs(store: Store, jobs: pd.DataFrame) -> tuple[int | None, pd.DataFrame]:
    """The runs by what they had reached when the first of them were halted.

    Returns:
        The epoch, and the finished and halted runs that were to go so far, with their best_val_acc
        up to then; without halted runs None and the finished ones as they are.
    """
    halted = jobs["outcome"] == "halted"
    if not halted.any():
        return None, rank(jobs)
    epoch = int(jobs.loc[halted, "halted_epoch"].min())
    runs = jobs[(halted | (jobs["outcome"] == "finished")) & (jobs["num_epochs"] >= epoch)]
    reached = [
        queries.curves(store, id_, ["val_acc"])["val_acc"].loc[:epoch].max()
        for id_ in runs["run_id"]
    ]
    return epoch, runs.assign(best_val_acc=reached)


def head_to_head(store: Store, ours: pd.Series[Any], theirs: pd.Series[Any]) -> Verdict:
    """Compare two runs, maybe of different sweeps, on their validation images (exact McNemar).

    Args:
        store: holds the runs.
        ours: a row of `tabulate`; the configuration "ours" of the verdict.
        theirs: likewise.

    Raises:
        PipelineError: they were not judged on the same images, or do not say which they predict.
    """
    both = pd.DataFrame([ours, theirs])
    if both["dataset_digest"].nunique() > 1:
        raise ReportError("the two were trained on different data")
    models = both[["seed", "best_val_acc", "best_val_loss"]].assign(
        configuration=["ours", "theirs"], cost=both["hidden_size"].astype(int)
    )
    hits = [load_hits(store, run["run_id"], int(run["num_val"])) for run in (ours, theirs)]
    return compare(models, np.array(hits))


def names_of(jobs: pd.DataFrame) -> list[str]:
    """The values other than the seed in which jobs differ; of equal jobs the hidden size."""
    names = [key for key in PARAMS if key != "seed" and jobs[key].nunique() > 1]
    return names or ["hidden_size"]


def load_hits(store: Store, run_id: str, num_val: int) -> NDArray[np.bool_]:
    """Which validation images a run's model predicts right at its best epoch, (num_val,).

    Raises:
        PipelineError: the run does not say.
    """

    def unpack(file: Mapping[str, Any]) -> NDArray[np.bool_]:
        bits = file["bits"]
        if bits.dtype != np.uint8 or bits.shape != (-(-num_val // 8),):
            raise ValueError(f"{bits.dtype} of shape {bits.shape}")
        return np.unpackbits(bits, count=num_val).astype(np.bool_)

    return read_arrays(store, run_id, "val_hits.npz", unpack)


def accuracy_in_words(best: Best, evidence: Evidence | None) -> str:
    """How good the chosen model is on the validation images, and how sure that is."""
    first = evidence.verdict.table.iloc[0] if evidence else None
    if first is None or first["n"] == 1:
        low, high = best.val_acc_ci95
        return (
            f"{percent(best.val_acc)} (95 % Wilson interval: {percent(low)} to {percent(high)}, "
            f"{best.num_val:,} images)"
        )
    return (
        f"{percent(first['mean'])} (mean over {first['n']} seeds, 95 % t interval: "
        f"{percent(first['low'])} to {percent(first['high'])}, {best.num_val:,} images)"
    )


def in_words(evidence: Evidence, best: Best) -> Iterator[str]:
    """What the statistics say, a sentence each."""
    table, correction = evidence.verdict.table, evidence.correction
    if len(table) > 1:
        first = table.iloc[0]
        if first["n"] > 1:
            yield (
                f"Chosen by the mean over {first['n']} seeds: {percent(first['mean'])}, standard "
                f"deviation {percent(first['std'])}; the model is that of its best seed, which has "
                f"{percent(best.val_acc)}."
            )
        alike, others = len(evidence.verdict.together) - 1, f"other {len(table) - 1} configurations"
        one = "the other configuration" if len(table) == 2 else ""
        if alike:
            yield (
                f"{one.capitalize() or f'{alike} of the {others}'} cannot be told apart from it "
                "(paired tests on the same validation images, Holm's correction, 5 %); the "
                f"cheapest of all these is {evidence.verdict.cheapest}."
            )
        else:
            yield (
                f"It is better than {one or f'each of the {others}'} (paired "
                "tests on the same validation images, Holm's correction, 5 %)."
            )
        raw, corrected = percent(correction.raw), percent(correction.corrected)
        instead = f"{corrected} instead of {raw}" if corrected != raw else f"still {raw}"
        yield (
            f"The highest of {len(table)} accuracies is partly luck: without that, expect "
            f"{instead} (bootstrap of the whole choice over validation images)."
        )
    shares = evidence.importance.shares.head(NAMED)
    if len(shares):
        parts = ", ".join(
            f"{' × '.join(names)} {percent(share)}"
            for names, share in shares.itertuples(index=False)
        )
        what = "What mattered"
        if evidence.importance_epoch:
            what += f" after epoch {evidence.importance_epoch}"
        how = "" if evidence.importance.method == "exact" else ", gaps filled by a random forest"
        yield f"{what}, as shares of accuracy's variance (functional ANOVA{how}): {parts}."
    for edge in evidence.edges:
        yield f"{edge} Try: {edge.command}"


def as_facts(evidence: Evidence) -> dict[str, Any]:
    """The statistics as JSON has them."""
    shares = evidence.importance.shares
    return {
        "configurations": records(evidence.verdict.table),
        "together": list(evidence.verdict.together),
        "cheapest": evidence.verdict.cheapest,
        "corrected_val_acc": evidence.correction.corrected,
        "optimism": evidence.correction.optimism,
        "importance": {" × ".join(n): share for n, share in shares.itertuples(index=False)},
        "importance_method": evidence.importance.method,
        "importance_epoch": evidence.importance_epoch,
        "marginals": records(evidence.importance.marginals),
        "pareto_front": list(evidence.front["configuration"]),
    }


def of_sweep(
    store: Store, jobs: pd.DataFrame, best: Best | None, sweep: Sweep
) -> tuple[Evidence | None, list[str]]:
    """The statistics of a sweep and their sentences; where there can be none, why."""
    if best is None:
        return None, []
    try:
        evidence = gather_evidence(store, jobs, best, sweep)
    except (PipelineError, ValueError, TypeError, KeyError) as error:  # a store may hold anything
        return None, [f"How the models compare is not known: {' '.join(str(error).split())}."]
    return evidence, list(in_words(evidence, best))
