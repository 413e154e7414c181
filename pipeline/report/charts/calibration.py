"""The reliability diagram of a model (Guo et al., 2017)."""

from __future__ import annotations

from pipeline.analysis.calibration import Calibration
from pipeline.report.charts.canvas import CHOSEN, GREY, SMALL, chart


def draw_calibration(calibration: Calibration) -> str:
    """Draw the accuracy against the confidence of each bin, with 95 % intervals.

    A calibrated model lies on the dashed diagonal: it is right as often as its probabilities state.
    """
    from matplotlib.ticker import PercentFormatter

    bins = calibration.bins
    confidences = [one.confidence for one in bins]
    with chart("calibration", SMALL) as drawing:
        axes = drawing.axes
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.set_xlabel("mean confidence")
        axes.set_ylabel("accuracy")
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (3, 2)), linewidth=1)
        lows, highs = [one.accuracy_low for one in bins], [one.accuracy_high for one in bins]
        axes.vlines(confidences, lows, highs, CHOSEN, alpha=0.4, linewidth=4)
        axes.plot(confidences, [one.accuracy for one in bins], "o", color=CHOSEN, markersize=5)
        axes.set_xlim(min([0.5, *confidences]) - 0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
    return drawing.svg
