"""Heatmaps of validation accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pipeline.analysis.heatmap import MAX_LEVELS, Heatmap, make_heatmap, rank_values
from pipeline.analysis.runs import PARAMS
from pipeline.report.formatting import axis

SHARES = pd.DataFrame(
    {
        "values": [("learning_rate",), ("hidden_size", "flip"), ("hidden_size",), ("l2_reg",)],
        "share": [0.5, 0.3, 0.1, 0.01],
    }
)


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Jobs with the given values; the others are equal."""
    jobs = pd.DataFrame(rows).astype(object)
    jobs = jobs.assign(**{key: 0 for key in PARAMS if key not in jobs})
    return jobs.assign(num_val=jobs.get("num_val", pd.Series(100, jobs.index)))


def job(outcome: str, val_acc: float | None, **values: Any) -> dict[str, Any]:
    return {"outcome": outcome, "best_val_acc": val_acc, **values}


def cells(heatmap: Heatmap) -> list[list[list[tuple[str, float | None]]]]:
    return [
        [[(cell.outcome or "", cell.val_acc) for cell in row] for _, row in panel.rows]
        for panel in heatmap.panels
    ]


def test_heatmap_shows_the_best_mean_over_seeds_of_each_cell() -> None:
    jobs = table(
        [
            job("finished", 0.9, learning_rate=0.1, batch_size=50, seed=0, l2_reg=0),  # lucky
            job("finished", 0.1, learning_rate=0.1, batch_size=50, seed=1, l2_reg=0),
            job("finished", 0.7, learning_rate=0.1, batch_size=100, seed=0, l2_reg=0),
            job("diverged", None, learning_rate=0.1, batch_size=100, seed=0, l2_reg=0),
            job("diverged", None, learning_rate=1e9, batch_size=100, seed=0, l2_reg=0),
            job("finished", 1.0, learning_rate=0.1, batch_size=100, seed=0, l2_reg=1e-4),
            job("failed", None, learning_rate=7, batch_size=100, seed=0, l2_reg=9, num_val=None),
        ]
    ).assign(num_val=100.0)
    jobs.loc[6, "num_val"] = None
    heatmap = make_heatmap(jobs, ["learning_rate", "l2_reg"], chosen=5)
    assert heatmap is not None
    names = heatmap.panel_name, heatmap.row_name, heatmap.column_name
    assert names == (None, "l2_reg", "learning_rate")
    assert heatmap.columns == [0.1, 1e9]
    (panel,) = heatmap.panels
    assert [level for level, _ in panel.rows] == [0, 1e-4]
    assert cells(heatmap) == [
        [[("finished", 0.7), ("diverged", None)], [("finished", 1.0), ("", None)]]
    ]
    assert [row[0].shade for _, row in panel.rows] == [0, 1]  # the better one is darker
    assert [row[0].chosen for _, row in panel.rows] == [False, True]


def test_axes_are_the_most_important_values_and_the_longer_one_is_vertical() -> None:
    jobs = table(
        [
            job("finished", 0.5, learning_rate=rate, hidden_size=H, flip=flip, momentum=m)
            for rate in (0.1, 0.2)
            for H in range(1, 25)
            for flip in (False, True)
            for m in (0, 0.9)
        ]
    )
    ranked = rank_values(jobs, SHARES)
    assert ranked[:3] == ["momentum", "learning_rate", "hidden_size"]  # momentum has no share
    shares = pd.concat([SHARES, pd.DataFrame({"values": [("momentum",)], "share": [0.001]})])
    ranked = rank_values(jobs, shares)
    assert ranked == ["learning_rate", "hidden_size", "flip", "momentum"]
    heatmap = make_heatmap(jobs, ranked)
    assert heatmap is not None
    names = heatmap.panel_name, heatmap.row_name, heatmap.column_name
    assert names == ("flip", "hidden_size", "learning_rate")
    assert [panel.level for panel in heatmap.panels] == [False, True]
    assert (len(heatmap.columns), len(heatmap.panels[0].rows)) == (2, 24)


def test_value_that_decides_whether_training_diverges_is_the_most_important_one() -> None:
    jobs = table(
        [
            job("diverged" if rate > 1 else "finished", 0.5, learning_rate=rate, hidden_size=H)
            for rate in (0.1, 1e9)
            for H in (8, 16)
        ]
    )
    shares = pd.DataFrame({"values": [("hidden_size",)], "share": [1.0]})
    assert rank_values(jobs, shares) == ["learning_rate", "hidden_size"]


def test_one_swept_value_is_one_row_and_no_swept_value_is_no_heatmap() -> None:
    jobs = table([job("finished", 0.5, dtype="float32"), job("finished", 0.6, dtype="float64")])
    heatmap = make_heatmap(jobs, rank_values(jobs, None))
    assert heatmap is not None
    assert (heatmap.row_name, heatmap.columns) == (None, ["float32", "float64"])
    assert cells(heatmap) == [[[("finished", 0.5), ("finished", 0.6)]]]
    assert make_heatmap(jobs[:1], rank_values(jobs[:1], None)) is None


def test_many_values_share_positions_by_intervals() -> None:
    rates = np.geomspace(0.01, 1, 400).tolist()
    jobs = table([job("finished", rate / 2, learning_rate=rate) for rate in [0, *rates]])
    heatmap = make_heatmap(jobs, ["learning_rate"])
    assert heatmap is not None
    assert len(heatmap.columns) == MAX_LEVELS
    assert [axis(level) for level in heatmap.columns[:3]] == ["0", "0.01–0.012", "0.012–0.015"]
    assert heatmap.panels[0].rows[0][1][-1].val_acc == 0.5
    assert [axis(1024), axis(0.0012345), axis(True), axis("float32")] == [
        *("1024", "0.00123", "true", "float32"),
    ]
