"""The charts of a sweep's configurations, with their texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.analysis.heatmap import log_error, rank_values
from pipeline.analysis.result import Evidence, SweepAnalysis
from pipeline.outcomes import Outcome
from pipeline.report.charts.configurations import draw_costs, draw_history, draw_parallel
from pipeline.report.charts.curves import draw_marginals
from pipeline.report.charts.search import draw_plane, draw_scatter
from pipeline.report.formatting import percent
from pipeline.report.labels import label, symbol


class Chart(NamedTuple):
    """A chart with its texts."""

    name: str  # of its file
    title: str
    alternative: str  # for a screen reader
    svg: str


class EvidenceCharts(NamedTuple):
    """The charts of all configurations."""

    by_value: Sequence[Chart]  # accuracy by the values of each hyperparameter
    plane: Chart | None  # of the two most important values of a search
    configurations: Sequence[Chart]


def draw_evidence(found: SweepAnalysis, evidence: Evidence) -> EvidenceCharts:
    """Draw the configurations of a sweep. Of a single one, there is nothing to compare.

    After successive halving, a single configuration has finished, but the halted ones show the
    effect of each value.
    """
    ranked = rank_values(found.jobs, evidence.log_importance.shares)
    ranked = [name for name in ranked if name in evidence.swept]
    by_value = _marginals(found, evidence, ranked)
    table = _with_errors(evidence.configurations, _num_val(found))
    if len(table) == 1:
        return EvidenceCharts(by_value, None, [])
    charts = [_history(found, evidence)] if found.sweep.searched else []
    if table["cost"].nunique() > 1:
        charts.append(_costs(table, evidence))
    if len(ranked) > 1:  # of a single value, the chart of its accuracies shows the same
        charts.append(_parallel(table, ranked[::-1]))
    if found.heatmap is None:
        plane = _plane(found, table, ranked) if len(ranked) > 1 else None
        return EvidenceCharts(_scatter(found, table, ranked), plane, charts)
    return EvidenceCharts(by_value, None, charts)


def _num_val(found: SweepAnalysis) -> int:
    return int(found.jobs["num_val"].max())


def _with_errors(configurations: pd.DataFrame, num_val: int) -> pd.DataFrame:
    """The configurations with their error, and its shade as in a heatmap."""
    errors = log_error(configurations["mean"], num_val)
    shades = (errors.max() - errors) / ((errors.max() - errors.min()) or 1)
    return configurations.assign(error=np.exp(errors), shade=shades)


def _value_title(name: str) -> str:
    return name if symbol(name) == name else f"{name} ({symbol(name)})"


def _marginals(found: SweepAnalysis, evidence: Evidence, ranked: Sequence[str]) -> list[Chart]:
    chosen = {name: evidence.configurations.iloc[0][name] for name in evidence.swept}
    charts = draw_marginals(evidence.importance.marginals, chosen, _num_val(found))
    return [
        Chart(
            f"marginal-{name}",
            _value_title(name),
            f"Mean validation accuracy at each value of {name}",
            charts[name],
        )
        for name in ranked
        if name in charts
    ]


def _scatter(found: SweepAnalysis, table: pd.DataFrame, ranked: Sequence[str]) -> list[Chart]:
    return [
        Chart(
            f"scatter-{name}",
            _value_title(name),
            f"Validation accuracy of {len(table)} configurations by {name}",
            draw_scatter(table, name, found.sweep.searched.get(name, {})),
        )
        for name in ranked
    ]


def _plane(found: SweepAnalysis, table: pd.DataFrame, ranked: Sequence[str]) -> Chart:
    x, y = ranked[:2]
    lost = found.jobs[found.jobs["outcome"] == Outcome.DIVERGED]
    crosses = "; crosses: diverged" if len(lost) else ""
    finished = " of the finished configurations" if found.halted else ""
    return Chart(
        "plane",
        f"The two most important values{finished}. Stronger colours are better; the ring marks the "
        f"chosen model{crosses}",
        f"{len(table)} configurations by {x} and {y}",
        draw_plane(table, lost, (x, y), found.sweep.searched),
    )


def _history(found: SweepAnalysis, evidence: Evidence) -> Chart:
    jobs = found.jobs
    finished = jobs["outcome"] == Outcome.FINISHED
    groups = evidence.configurations.set_index("configuration")["group"]
    accuracies = jobs["best_val_acc"].where(finished).astype(float)
    trials = pd.DataFrame(
        {
            "job": jobs["job"],
            "best_val_acc": accuracies,
            "error": np.exp(log_error(accuracies, _num_val(found))),
            "group": jobs["configuration"].where(finished).map(groups),
        }
    ).sort_values("job")
    missing = "; short lines: halted, diverged or failed" if trials["error"].isna().any() else ""
    highest = trials.sort_values("best_val_acc", ascending=False, kind="stable").iloc[0]
    return Chart(
        "history",
        f"Validation accuracy of each trial in its order; the line is the highest so far{missing}",
        f"Validation accuracy of {len(trials)} trials in their order; the highest, "
        f"{percent(highest['best_val_acc'])}, was first reached by trial {highest['job']}",
        draw_history(trials),
    )


def _costs(table: pd.DataFrame, evidence: Evidence) -> Chart:
    front = evidence.front.merge(table[["configuration", "error"]], on="configuration")
    labels = ", ".join(label(row, evidence.swept) for row in front.to_dict("records"))
    return Chart(
        "costs",
        "Validation accuracy against the cost of a prediction. No configuration is both cheaper "
        "and better than those on the line, the Pareto front",
        f"Validation accuracy against multiply-adds of {len(table)} configurations; "
        f"{len(front)} are on the Pareto front: {labels}",
        draw_costs(table, front),
    )


def _parallel(table: pd.DataFrame, names: Sequence[str]) -> Chart:
    return Chart(
        "configurations",
        "Each line is a configuration, from its values to its validation accuracy. The most "
        "important value is next to the accuracy",
        f"Parallel coordinates of {len(table)} configurations",
        draw_parallel(table, names),
    )
