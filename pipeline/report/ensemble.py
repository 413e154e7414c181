"""The ensemble of a sweep, as sentences and tables."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.analysis.ensemble import Ensemble
from pipeline.analysis.evaluation import Best
from pipeline.analysis.intervals import difference_interval
from pipeline.analysis.result import SweepAnalysis
from pipeline.nn.cost import num_parameters, prediction_cost
from pipeline.report.formatting import percent, points
from pipeline.report.tables import Table


def ensemble_answer(found: SweepAnalysis) -> Iterator[str]:
    """The accuracy of the ensemble and its gain over the single best model, in one line."""
    ensemble = found.ensemble
    if ensemble is None or len(ensemble.members) == 1:
        return
    yield (
        f"Ensemble of {len(ensemble.members)} models: {percent(ensemble.oob_acc)} against "
        f"{percent(ensemble.single_acc)} for the best single model, both out of bag (95 % interval "
        f"of the difference {points(ensemble.gain_low)} to {points(ensemble.gain_high)} points)"
    )


def ensemble_notes(found: SweepAnalysis) -> Iterator[str]:
    """How the ensemble was selected and evaluated, and the command that registers it."""
    if found.ensemble_problem:
        yield f"There is no ensemble: {found.ensemble_problem}."
    ensemble = found.ensemble
    if ensemble is None:
        return
    if len(ensemble.members) == 1:
        yield "There is no ensemble: the best single model is best alone."
        return
    best = f"the {ensemble.num_candidates} best of " if _is_limited(ensemble) else "all "
    yield (
        f"The members are selected from {best}{ensemble.num_models} finished models by greedy "
        f"selection with replacement in {ensemble.num_bags} bootstrap samples of the validation "
        "examples (Caruana et al., 2004). The ensemble averages the probabilities of its members. "
        "Out of bag means that each example is predicted by the samples that do not contain it. "
        "The best single model is evaluated in the same way, so the choice of models does not "
        "inflate the gain. The best epoch of each model was chosen on the same examples. This "
        "raises the accuracy of a single model more than that of the ensemble, so the true gain "
        "may be larger."
    )
    if ensemble.gain_low <= 0:
        yield (
            "The validation examples do not show that the ensemble is better: the interval of "
            "the difference contains 0."
        )
    if ensemble.test is not None:
        test = ensemble.test
        low, high = difference_interval(
            (test.gain, test.gain_low, test.gain_high),
            (ensemble.gain, ensemble.gain_low, ensemble.gain_high),
        )
        differ = "differ by more than chance explains" if low > 0 or high < 0 else "are compatible"
        yield (
            f"On the test examples, the gain over the chosen model is {points(test.gain)} points "
            f"(95 % interval {points(test.gain_low)} to {points(test.gain_high)}). The gains on "
            f"the validation and the test examples {differ}."
        )
    if ensemble.gain > 0:
        yield f"Register it with pipeline-promote --ensemble --sweep {found.sweep.name}."


def ensemble_tables(found: SweepAnalysis) -> tuple[Table, Table] | None:
    """The chosen model against the ensemble, and the members with their shares."""
    if (
        found.ensemble is None
        or len(found.ensemble.members) == 1
        or found.chosen is None
        or found.chosen.data is None
    ):
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
            f"{num_parameters(H, D, C):,}",
            f"{prediction_cost(H, D, C):,}",
        ],
        [
            f"ensemble of {len(ensemble.members)} models",
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


def _is_limited(ensemble: Ensemble) -> bool:
    return ensemble.num_candidates < ensemble.num_models


def _interval(low: float, high: float) -> str:
    return f"{points(low)} to {points(high)}"
