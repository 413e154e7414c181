"""The contents of report.json and of the CSV files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from pipeline.analysis.diagnostics import Diagnostics
from pipeline.analysis.ensemble import Ensemble
from pipeline.analysis.evaluation import ChosenModel
from pipeline.analysis.features import Features
from pipeline.analysis.heatmap import GRID
from pipeline.analysis.resources import SweepResources
from pipeline.analysis.result import Evidence, SweepAnalysis, SweepComparison
from pipeline.analysis.runs import DATA
from pipeline.outcomes import Outcome
from pipeline.report import notes, sentences
from pipeline.report.comparison import side_by_side, verdict
from pipeline.report.formatting import csv_text
from pipeline.report.labels import shared_values
from pipeline.report.links import run_address
from pipeline.report.suggestions import next_step
from pipeline.uris import redact

SCHEMA_VERSION = 3  # of report.json; a change of the meaning or the type of a field raises it
MISTAKE = ("number", "label", "predicted", "probability")  # the fields of a mistake in JSON


def to_dict(found: SweepAnalysis, comparison: SweepComparison | None) -> dict[str, Any]:
    """All facts of a report as JSON values."""
    jobs = found.jobs
    first = jobs[jobs["dataset"].notna()][:1]
    facts = {
        "schema_version": SCHEMA_VERSION,
        "sweep": found.sweep.name,
        "command": found.sweep.command,
        "select_by": found.select_by,
        "jobs": sentences.job_counts(found),
        "num_planned": len(jobs) + found.not_started,
        "outcomes": {outcome.value: count for outcome, count in found.counts.items()},
        **(_records(first[list(DATA)]) or [dict.fromkeys(DATA)])[0],
        "shared": shared_values(jobs),
        "started": found.resources.started,
        "ended": found.resources.ended,
        "resources": _resources(found.resources),
        "best": _best(found, found.chosen) if found.chosen else None,
        "problem": None if found.chosen else sentences.no_choice(found),
        "against": _against(comparison) if comparison else None,
        "next_step": asdict(step) if (step := next_step(found)) else None,
        "notes": notes.all_notes(found),
        "test_gap": found.test_gap._asdict() if found.test_gap else None,
        "evidence": _evidence(found.evidence) if found.evidence else None,
        "diagnostics": _diagnostics(found),
        "ensemble": _ensemble(found.ensemble) if found.ensemble else None,
        "runs": _records(jobs),
        "halted": _apart(jobs, Outcome.HALTED, epoch="halted_epoch", best_val_acc="best_val_acc"),
        "diverged": _apart(jobs, Outcome.DIVERGED, epoch="diverged_epoch"),
        "failed": _apart(jobs, Outcome.FAILED, error="error"),
        "unfinished": _apart(jobs, Outcome.UNFINISHED),
    }
    plain: dict[str, Any] = _plain(facts)
    return plain


def to_csv(table: pd.DataFrame) -> str:
    """A table as CSV in which no cell is a formula of a spreadsheet."""
    texts = table.select_dtypes(["object", "string"]).columns
    times = table.select_dtypes("datetimetz").columns
    return table.assign(
        **{name: table[name].map(csv_text) for name in texts},
        **{name: table[name].map(_plain) for name in times},
    ).to_csv(index=False)


def _best(found: SweepAnalysis, chosen: ChosenModel) -> dict[str, Any]:
    """The chosen model, with its complete configuration if that can be read."""
    best, config = chosen.best, None
    if chosen.job is not None:
        data = asdict(chosen.job.data)
        config = asdict(chosen.job.hyperparameters) | {
            "data": {key: redact(v) if isinstance(v, str) else v for key, v in data.items()}
        }
    place = found.store_uri, found.sweep.experiment_id, best.run_id
    links = {"weights": found.weights, "page": run_address(*place)}
    return asdict(best) | {"config": config} | links


def _resources(took: SweepResources) -> dict[str, Any]:
    return {
        "wall_seconds": took.wall_seconds,
        "cores": took.cores,
        "core_hours": took.core_hours,
        "multiply_adds": took.multiply_adds,
        "num_reused": took.num_reused,
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    estimate, table = evidence.estimate, evidence.configurations
    log_shares: dict[tuple[str, ...], float] = dict(
        evidence.log_importance.shares.itertuples(index=False)
    )
    return {
        "swept": list(evidence.swept),
        "configurations": _configurations(table, evidence.swept),
        "num_tied": len(evidence.confidence.members) - 1,
        "cheapest": evidence.confidence.cheapest,
        "estimate": asdict(estimate) | {"optimism": estimate.optimism},
        "importance": [
            {"names": names, "accuracy": share, "log_error": log_shares.get(names)}
            for names, share in evidence.importance.shares.itertuples(index=False)
        ],
        "importance_method": evidence.importance.method,
        "importance_epoch": evidence.importance_epoch,
        "num_duplicates": evidence.num_duplicates,
        "num_incomplete": evidence.num_incomplete,
        "marginals": _records(evidence.importance.marginals),
        "pareto_front": list(evidence.front["configuration"]),
        "edges": [asdict(edge) for edge in evidence.edges],
    }


def _configurations(table: pd.DataFrame, swept: Sequence[str]) -> list[dict[str, Any]]:
    """The rows with the swept values as an object of their own."""
    rows = _records(table)
    return [{"values": {key: row.pop(key) for key in swept}} | row for row in rows]


def _diagnostics(found: SweepAnalysis) -> dict[str, Any] | None:
    if found.diagnostics is None or found.chosen is None or found.chosen.data is None:
        return None
    measured: Diagnostics = found.diagnostics
    return {
        "train_acc": measured.train_acc,
        "generalisation_gap": measured.gap,
        "dead_units": measured.dead_units,
        "hidden_units": measured.hidden_units,
        "update_ratio": dict(zip(("W1", "W2"), measured.updates, strict=True)),
        "classes": list(found.chosen.data.classes),
        "recalls": measured.recalls,
        "balanced_acc": measured.balanced_acc,
        "majority_baseline": {
            "class": found.chosen.data.classes[measured.baseline.label],
            "accuracy": measured.baseline.val_acc,
        },
        "calibration": {
            "error": measured.calibration.error,
            "confidence": measured.calibration.confidence,
            "bins": [each._asdict() for each in measured.calibration.bins],
        },
        "weights": _features(found.features, "weights"),
        "permutation_importance": _features(found.features, "permutations"),
        "confusion": measured.confusion.tolist(),
        "mistakes": [
            {key: value for key, value in mistake._asdict().items() if key in MISTAKE}
            for mistake in measured.mistakes
        ],
    }


def _ensemble(ensemble: Ensemble) -> dict[str, Any]:
    facts = asdict(ensemble)
    del facts["oob_hits"]
    return facts


def _features(features: Features | None, name: str) -> list[dict[str, Any]]:
    return [asdict(each) for each in getattr(features, name, ())]


def _against(comparison: SweepComparison) -> dict[str, Any]:
    return {
        "sweep": comparison.second.sweep.name,
        "verdict": verdict(comparison),
        "models": [asdict(model) for model in comparison.models or ()],
        "p_value": comparison.p_value if comparison.models else None,
        "rows": side_by_side(comparison),
    }


def _apart(jobs: pd.DataFrame, outcome: Outcome, **more: str) -> list[dict[str, Any]]:
    """The jobs of one outcome with their most important columns."""
    keys = {key: key for key in ("job", "name", "run_id", *GRID)} | more
    rows = jobs[jobs["outcome"] == outcome][list(keys.values())]
    return _records(rows.set_axis(list(keys), axis=1))


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a DataFrame, an object for each."""
    rows = frame.astype(object).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    """A value as JSON can express it: null for a missing or infinite number, a time as a text."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if pd.isna(value) or value in (math.inf, -math.inf):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value.item() if isinstance(value, np.generic) else value
