"""Everything that a report draws, for the page and for MLflow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.analysis.calibration import Calibration
from pipeline.analysis.diagnostics import Mistake
from pipeline.analysis.result import SweepAnalysis
from pipeline.data import published
from pipeline.report.charts.calibration import draw_calibration
from pipeline.report.charts.canvas import COLOURS, MARKERS
from pipeline.report.charts.curves import draw_curves
from pipeline.report.charts.images import Picture, draw_pair, draw_weights
from pipeline.report.evidence_charts import Chart, EvidenceCharts, draw_evidence
from pipeline.report.formatting import percent, show
from pipeline.report.labels import run_label

PAIR_WIDTH = 200  # pixels of the page for an image and its gradient


@dataclass(frozen=True)
class Drawings:
    """The charts and images of a report."""

    curve_labels: Sequence[tuple[str, str, str]]  # label, colour and marker of each curve
    curves: Sequence[Chart]  # losses and accuracy; none if each model has trained for one epoch
    evidence: EvidenceCharts
    mistakes: Sequence[tuple[Mistake, Picture]]
    first_layer: Picture | None
    calibration: Chart | None  # the reliability diagram of the chosen model

    @property
    def charts(self) -> list[Chart]:
        """The charts that are saved as files, too."""
        plane = [self.evidence.plane] if self.evidence.plane is not None else []
        return [*self.curves, *plane, *self.evidence.configurations]


def draw(found: SweepAnalysis) -> Drawings:
    """Draw everything that a report shows of a sweep."""
    evidence, diagnostics = found.evidence, found.diagnostics
    return Drawings(
        curve_labels=_curve_labels(found),
        curves=list(_curves(found)),
        evidence=draw_evidence(found, evidence) if evidence else EvidenceCharts([], None, []),
        mistakes=[
            (mistake, draw_pair(mistake.image, mistake.gradient, PAIR_WIDTH))
            for mistake in (diagnostics.mistakes if diagnostics else [])
        ],
        first_layer=_first_layer(found),
        calibration=_calibration(diagnostics.calibration) if diagnostics else None,
    )


def _curve_labels(found: SweepAnalysis) -> list[tuple[str, str, str]]:
    labels = []
    for curve, colour, marker in zip(found.curves, COLOURS, MARKERS.values(), strict=False):
        text = run_label(curve.run, found.jobs)
        if curve.role == "diverged":
            text = f"diverged in epoch {show(curve.run['diverged_epoch'])}: {text}"
        else:
            text = f"{curve.place}.{' (median)' if curve.role == 'median' else ''} {text}"
        labels.append((text, colour, marker))
    return labels


def _curves(found: SweepAnalysis) -> Iterator[Chart]:
    """The curves by epoch. Losses share an axis only if no training loss includes a penalty."""
    curves = found.curves
    if max((len(curve.metrics) for curve in curves), default=0) < 2:
        return
    charts = {
        "loss": ("Loss", ["train_loss", "val_loss"]),
        "acc": ("Accuracy", ["train_acc", "val_acc"]),
    }
    if any(curve.run["l2_reg"] != 0 for curve in curves):
        charts = {
            "val_loss": ("Validation loss", ["val_loss"]),
            "train_loss": ("Training loss, with the L2 penalty", ["train_loss"]),
            "acc": charts["acc"],
        }
    num_val = int(found.jobs["num_val"].max())
    for name, (title, metrics) in charts.items():
        alternative = f"{title} by epoch of the models in the legend"
        yield Chart(name, title, alternative, draw_curves(name, curves, metrics, num_val))


def _calibration(calibration: Calibration) -> Chart:
    return Chart(
        "calibration",
        "Accuracy of the validation examples by the confidence of the model, with 95 % intervals. "
        "The points of a calibrated model lie on the dashed line",
        f"Accuracy by confidence; expected calibration error {percent(calibration.error)}",
        draw_calibration(calibration),
    )


def _first_layer(found: SweepAnalysis) -> Picture | None:
    if found.chosen is None or found.chosen.weights is None:
        return None
    data, W1 = found.chosen.data, found.chosen.weights.W1[0]
    old_shape = published.IMAGE_SHAPES.get(found.jobs["dataset"].iloc[0])
    shape = data.image_shape if data is not None else old_shape
    if shape is None or W1.shape[0] != math.prod(shape):
        return None
    return draw_weights(W1, shape)
