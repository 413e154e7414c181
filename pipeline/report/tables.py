"""The tables of a report, as texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.analysis.result import Evidence, SweepAnalysis
from pipeline.outcomes import Outcome
from pipeline.report.formatting import duration, percent, points, show
from pipeline.report.labels import label, shown_names, symbol
from pipeline.report.links import run_address

COLUMNS = {  # of the table of each outcome, between a run's values and its name
    Outcome.FINISHED: [
        *("best_balanced_acc", "best_val_acc", "best_val_loss", "best_epoch"),
        *("train_acc", "gap", "seconds"),
    ],
    Outcome.HALTED: ["halted_epoch", "best_val_acc"],
    Outcome.DIVERGED: ["diverged_epoch"],
    Outcome.FAILED: ["error"],
    Outcome.UNFINISHED: [],
}
OPTIONAL = ("best_balanced_acc",)  # shown only if a run has it
HEADINGS = {
    "best_epoch": "best epoch",
    "train_acc": "train_acc, last epoch",
    "gap": "train_acc − val_acc, last epoch",
    "seconds": "run time",
    "diverged_epoch": "diverged in epoch",
    "halted_epoch": "halted after epoch",
    "n": "seeds",
    "mean": "val_acc",
    "std": "std over seeds",
    "low": "95 % from",
    "high": "to",
    "difference": "difference to chosen, points",
    "difference_low": "95 % from, points",
    "difference_high": "to, points",
    "cost": "multiply-adds per prediction",
    "could_be_best": "could be best",
}
FORMATS: Mapping[str, Callable[[Any], str]] = {
    "best_balanced_acc": percent,
    "best_val_acc": percent,
    "best_val_loss": "{:.4f}".format,
    "train_acc": percent,
    "gap": points,
    "seconds": duration,
    "mean": percent,
    "std": percent,
    "low": percent,
    "high": percent,
    "difference": points,
    "difference_low": points,
    "difference_high": points,
    "cost": "{:,}".format,
}


class Table(NamedTuple):
    """A table as texts."""

    name: str  # the outcome of its jobs, or the subject of the table
    header: list[str]
    rows: list[list[str]]
    keys: list[list[float | None]]  # to sort by, where a text is not the number that it shows
    links: Sequence[str] = ()  # an address for the last cell of each row

    def keyed(self) -> list[list[tuple[str, float | None]]]:
        """The rows as pairs of a text and its key."""
        return [list(zip(*pair, strict=True)) for pair in zip(self.rows, self.keys, strict=True)]


def outcome_tables(found: SweepAnalysis) -> list[Table]:
    """A table for each outcome, with a row per job, in the order of the jobs."""
    jobs, tables = found.jobs, []
    for outcome, columns in COLUMNS.items():
        runs = jobs[jobs["outcome"] == outcome]
        first = "rank" if outcome == Outcome.FINISHED else "job"
        if len(runs):
            known = [key for key in columns if key not in OPTIONAL or runs[key].notna().any()]
            keys = [first, *shown_names(jobs), *known, "name"]
            links = [
                run_address(found.store_uri, found.sweep.experiment_id, run_id)
                for run_id in runs["run_id"]
            ]
            tables.append(_table(outcome.value, runs[keys])._replace(links=links))
    return tables


def configuration_table(found: SweepAnalysis, evidence: Evidence) -> Table:
    """Each configuration against the chosen one, which comes first, and the majority class."""
    rows = evidence.configurations
    answers = np.where(rows["worse"], "no", "yes").tolist()
    labels = [label(row, evidence.swept) for row in rows.to_dict("records")]
    rows = rows.assign(configuration=labels, could_be_best=["chosen", *answers[1:]])
    differences = ["difference", "difference_low", "difference_high"]
    # The table holds chosen − other; the reader wants to know how far the other one falls short.
    signed = {name: -rows[name] for name in differences}
    signed["difference_low"], signed["difference_high"] = (
        signed["difference_high"],
        signed["difference_low"],
    )
    rows = rows.assign(**signed)
    rows[differences] = rows[differences].astype(object)
    rows.loc[0, differences] = np.nan
    of_seeds = ["n", "std"] if (rows["n"] > 1).any() else []
    keys = ["configuration", "mean", *of_seeds, "low", "high", *differences, "cost"]
    table = _table("compared", rows[[*keys, "could_be_best"]])
    if found.diagnostics is None or found.chosen is None or found.chosen.data is None:
        return table
    baseline = found.diagnostics.baseline
    values = {
        "configuration": f"baseline: always {found.chosen.data.classes[baseline.label]}",
        **{"mean": baseline.val_acc, "low": baseline.low, "high": baseline.high},
        **{"difference": baseline.val_acc - evidence.estimate.raw, "could_be_best": "no"},
    }
    last = [(key, values.get(key)) for key in [*keys, "could_be_best"]]
    table.rows.append([_cell_text(key, value) for key, value in last])
    table.keys.append([_cell_key(key, value) for key, value in last])
    return table


def _table(name: str, rows: pd.DataFrame) -> Table:
    values = [
        list(zip(rows.columns, row, strict=True))
        for row in rows.astype(object).itertuples(index=False)
    ]
    return Table(
        name,
        header=[HEADINGS.get(key, symbol(key)) for key in rows.columns],
        rows=[[_cell_text(key, value) for key, value in row] for row in values],
        keys=[[_cell_key(key, value) for key, value in row] for row in values],
    )


def _cell_text(key: str, value: Any) -> str:
    return show(value) if pd.isna(value) else FORMATS.get(key, show)(value)


def _cell_key(key: str, value: Any) -> float | None:
    return float(f"{value:.6g}") if key in FORMATS and not pd.isna(value) else None
