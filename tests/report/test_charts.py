"""Charts: their scales, their colours, and which runs and charts a report shows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from pipeline.analysis.curves import MIN_DIFFERENCE
from pipeline.analysis.result import SweepAnalysis
from pipeline.analysis.sweep import analyse
from pipeline.report.charts.canvas import CHOSEN, error_axis
from pipeline.report.charts.search import draw_plane, draw_scatter
from pipeline.report.drawings import draw
from pipeline.report.html import importance_bars
from pipeline.tracking.store import Store
from tests.sweeps import train_sweep


@pytest.fixture(scope="module")
def found(store: Store, tmp_path_factory: pytest.TempPathFactory) -> SweepAnalysis:
    """Two learning rates, each with three λ that hardly matter, and one that matters."""
    jobs = [
        {"learning_rate": rate, "l2_reg": l2}
        for rate in (0.3, 1.0)
        for l2 in (0.0, 1e-6, 1e-5, 0.1)
    ]
    return analyse(store, train_sweep(store, tmp_path_factory.mktemp("runs"), "grid", *jobs))


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)<", svg)


@pytest.mark.parametrize(
    ("errors", "labels"),
    [
        ([1, 0.02], ["97 %", "90 %", "70 %", "0 %"]),
        ([0.9, 0.001], ["99.9 %", "99 %", "90 %"]),
        ([0.12, 0.04], ["96 %", "95 %", "94 %", "92 %", "90 %"]),
        ([0.021, 0.0205], ["98.05 %", "97.9 %", "97.75 %"]),
        ([0.0014, 0.0014], ["99.872 %", "99.864 %", "99.856 %", "99.848 %"]),
    ],
)
def test_error_axis_shows_accuracies_with_the_best_on_top(
    errors: list[float], labels: list[str]
) -> None:
    axes = Figure().subplots()
    error_axis(axes, pd.Series(errors))
    bottom, top = axes.get_ylim()
    assert top < min(errors) <= max(errors) < bottom
    shown = [axes.yaxis.get_major_formatter()(tick) for tick in axes.get_yticks()]
    assert shown[: len(labels)] == labels


def test_curves_of_shown_models_differ(found: SweepAnalysis) -> None:
    curves = found.curves
    assert curves[0].run["run_id"] == found.jobs["run_id"].iloc[0]
    assert [curve.place for curve in curves] != [1, 2, 3]
    losses = [float(curve.metrics["val_loss"].iloc[-1]) for curve in curves]
    for i, loss in enumerate(losses):
        for other in losses[:i]:
            assert abs(loss - other) >= MIN_DIFFERENCE * max(loss, other)


def test_losses_share_a_chart_only_without_a_penalty(
    found: SweepAnalysis, store: Store, tmp_path: Path
) -> None:
    names = [chart.name for chart in draw(found).curves]
    assert names == ["val_loss", "train_loss", "acc"]
    plain = train_sweep(store, tmp_path, "plain", {"l2_reg": 0.0}, {"l2_reg": 0.0, "seed": 1})
    assert [chart.name for chart in draw(analyse(store, plain)).curves] == ["loss", "acc"]
    short = train_sweep(store, tmp_path, "short", {"num_epochs": 1})
    assert draw(analyse(store, short)).curves == []


def test_chosen_model_has_one_colour(found: SweepAnalysis) -> None:
    drawings = draw(found)
    assert drawings.curve_labels[0][1] == CHOSEN
    evidence = drawings.evidence
    for chart in (*drawings.curves, *evidence.by_value, *evidence.configurations):
        assert CHOSEN in chart.svg, chart.name


def test_cost_chart_is_left_out_where_all_models_cost_the_same(found: SweepAnalysis) -> None:
    assert found.jobs["hidden_size"].nunique() == 1
    assert [chart.name for chart in draw(found).evidence.configurations] == ["configurations"]


def test_bars_are_the_shares_of_the_log_error(found: SweepAnalysis) -> None:
    assert found.evidence is not None
    bars = importance_bars(found.evidence)
    shares = found.evidence.log_importance.shares
    assert bars[0] == (" × ".join(shares["values"][0]), shares["share"][0])
    assert sum(share for _, share in bars) == pytest.approx(1, abs=1e-3)
    assert [share for _, share in bars] == sorted((share for _, share in bars), reverse=True)


def test_scatter_plots_have_the_scale_of_the_searched_interval() -> None:
    table = pd.DataFrame(
        {
            **{"learning_rate": [0.01, 0.1, 1.0], "hidden_size": [8, 16, 8]},
            **{"error": [0.5, 0.1, 0.2], "shade": [0, 1, 0.5]},
            **{"group": ["other", "chosen", "tied"]},
        }
    )
    interval = {"low": 0.01, "high": 1.0, "log": True}
    shown = texts(draw_scatter(table, "learning_rate", interval))
    assert [text for text in shown if "%" not in text] == ["0.01", "0.03", "0.1", "0.3", "1", "lr"]
    assert texts(draw_scatter(table, "hidden_size", {}))[:3] == ["8", "16", "H"]
    lost = pd.DataFrame({"learning_rate": [0.5], "hidden_size": [32]})
    plane = draw_plane(table, lost, ("learning_rate", "hidden_size"), {"learning_rate": interval})
    assert texts(plane)[-4:] == ["8", "16", "32", "H"]
    assert plane.count(CHOSEN) == 1


def test_distinct_places_skip_curves_that_cover_each_other() -> None:
    from pipeline.analysis.curves import _distinct

    losses = np.array([1.0, 1.01, 0.97, 1.2, 1.21, 2.0, 5.0])
    assert _distinct(losses) == [0, 3, 5]
    assert _distinct(losses[:1]) == [0]
    assert _distinct(losses[:0]) == []


def test_reliability_diagram_has_a_mark_for_each_bin(found: SweepAnalysis) -> None:
    chart = draw(found).calibration
    assert chart is not None
    assert found.diagnostics is not None
    marks = chart.svg[chart.svg.index('id="calibration-line2d_') :]
    bins = found.diagnostics.calibration.bins
    assert len(re.findall(rf"<use [^>]*style=\"fill: {CHOSEN}", marks)) == len(bins)
