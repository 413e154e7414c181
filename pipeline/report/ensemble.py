"""The ensemble of a sweep, as sentences and tables."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.analysis.ensemble import Ensemble
from pipeline.analysis.evaluation import Best
from pipeline.analysis.result import SweepAnalysis
from pipeline.nn.cost import prediction_cost
from pipeline.report.formatting import percent, points
from pipeline.report.tables import Table


def ensemble_answer(found: SweepAnalysis) -> Iterator[str]:
    """The accuracy of the ensemble and its gain over the single best model, in one line."""
    ensemble = found.ensemble
    if ensemble is None:
        return
    yield (
        f"Ensemble of {_models(ensemble)}: {percent(ensemble.oob_acc)} out of bag, "
        f"{_compared(ensemble.gain)} the best single model (95 % interval "
        f"{points(ensemble.gain_low)} to {points(ensemble.gain_high)} points)"
    )


def ensemble_notes(found: SweepAnalysis) -> Iterator[str]:
    """How the ensemble was selected and evaluated, and the command that registers it."""
    if found.ensemble_problem:
        yield f"There is no ensemble: {found.ensemble_problem}."
    ensemble = found.ensemble
    if ensemble is None:
        return
    best = f"the {ensemble.num_candidates} best of " if _is_limited(ensemble) else "all "
    yield (
        f"The members are selected from {best}{ensemble.num_models} finished models by greedy "
        f"selection with replacement in {ensemble.num_bags} bootstrap samples of the validation "
        "examples (Caruana et al., 2004). Each example is predicted by the samples without it, so "
        "the gain is free of the selection of the members and of the best single model. The best "
        "epoch of each model was chosen on the same examples. This flatters a single model more "
        "than a mean of several, so that the gain is rather too small."
    )
    if ensemble.gain_low <= 0:
        yield "The gain could be chance: its interval contains 0."
    if ensemble.test is not None:
        test = ensemble.test
        agrees = ensemble.gain_low <= test.gain <= ensemble.gain_high
        yield (
            f"On the test examples the gain over the chosen model is {points(test.gain)} points "
            f"(95 % interval {points(test.gain_low)} to {points(test.gain_high)}), which is "
            f"{'inside' if agrees else 'outside'} the interval of the validation examples."
        )
    yield f"Register it with pipeline-promote --ensemble --sweep {found.sweep.name}."


def ensemble_tables(found: SweepAnalysis) -> tuple[Table, Table] | None:
    """The chosen model against the ensemble, and the members with their shares."""
    if found.ensemble is None or found.chosen is None or found.chosen.data is None:
        return None
    D, C = found.chosen.data.X_val.shape[1], len(found.chosen.data.classes)
    comparison = _comparison(found.ensemble, found.chosen.best, D, C)
    rows = [
        [f"{100 * each.share:.1f} %", each.name, each.run_id] for each in found.ensemble.members
    ]
    return comparison, Table("members", ["share", "model", "run"], rows, [])


def _comparison(ensemble: Ensemble, best: Best, D: int, C: int) -> Table:
    H = int(best.values["hidden_size"])
    test = ensemble.test
    header = ["", "validation, out of bag", "validation, measured", "test"]
    header += ["parameters", "multiply-adds per prediction"]
    gain = f"{points(ensemble.gain)} ({_interval(ensemble.gain_low, ensemble.gain_high)})"
    rows = [
        [
            "best single model",
            percent(ensemble.single_acc),
            percent(best.val_acc),
            "–" if best.test_acc is None else percent(best.test_acc),
            f"{(D + 1) * H + (H + 1) * C:,}",
            f"{prediction_cost(H, D, C):,}",
        ],
        [
            f"ensemble of {_models(ensemble)}",
            f"{percent(ensemble.oob_acc)} ({percent(ensemble.oob_low)} to "
            f"{percent(ensemble.oob_high)})",
            percent(ensemble.val_acc),
            "–"
            if test is None
            else f"{percent(test.accuracy)} ({percent(test.low)} to {percent(test.high)})",
            f"{ensemble.parameters:,}",
            f"{ensemble.multiply_adds:,}",
        ],
        [
            "difference, points (95 % interval)",
            gain,
            points(ensemble.val_acc - best.val_acc),
            "–"
            if test is None
            else f"{points(test.gain)} ({_interval(test.gain_low, test.gain_high)})",
            "",
            "",
        ],
    ]
    return Table("ensemble", header, rows, [])


def _models(ensemble: Ensemble) -> str:
    count = len(ensemble.members)
    return f"{count} {'model' if count == 1 else 'models'}"


def _is_limited(ensemble: Ensemble) -> bool:
    return ensemble.num_candidates < ensemble.num_models


def _compared(gain: float) -> str:
    return f"{100 * abs(gain):.1f} points {'above' if gain >= 0 else 'below'}"


def _interval(low: float, high: float) -> str:
    return f"{points(low)} to {points(high)}"
