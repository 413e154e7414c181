"""Heatmaps of validation accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.analysis.heatmap import GRID, make_heatmaps
from pipeline.report.formatting import axis


def test_heatmap_shows_the_best_mean_over_seeds_of_each_cell() -> None:
    jobs = pd.DataFrame(
        [
            (8, 0, 0.1, 50, 0, "finished", 0.9, 100),  # a lucky seed
            (8, 0, 0.1, 50, 1, "finished", 0.1, 100),
            (8, 0, 0.1, 100, 0, "finished", 0.7, 100),
            (8, 0, 0.1, 100, 0, "diverged", None, 100),
            (8, 0, 1e9, 100, 0, "diverged", None, 100),
            (8, 1e-4, 0.1, 100, 0, "finished", 1.0, 100),
            (16, 0, 0.1, 100, 0, "unfinished", None, 100),
            ("abc", 0, 0.1, 100, 0, "failed", None, None),
        ],
        columns=[*GRID, "batch_size", "seed", "outcome", "best_val_acc", "num_val"],
    )
    small, large = make_heatmaps(jobs)
    assert (small.hidden_size, large.hidden_size) == (8, 16)
    assert small.learning_rates == [0.1, 1e9]
    assert [[(c.outcome or "", c.val_acc) for c in row] for _, row in small.rows] == [
        [("finished", 0.7), ("diverged", None)],
        [("finished", 1.0), ("", None)],
    ]
    assert large.rows[0][1][0].outcome == "unfinished"
    assert [small.rows[i][1][0].shade for i in (0, 1)] == [0, 1]  # the better one is darker


def test_searched_values_share_cells_of_a_heatmap() -> None:
    rng = np.random.default_rng(0)
    rates, accuracies = np.geomspace(0.01, 1, 40), rng.uniform(0.5, 0.9, 40)
    jobs = pd.DataFrame(
        {
            **{"hidden_size": 8, "l2_reg": [0, *rng.uniform(1e-6, 1e-3, 39)]},
            **{"learning_rate": rates, "outcome": "finished"},
            **{"best_val_acc": accuracies, "num_val": 100},
        }
    )
    (panel,) = make_heatmaps(jobs, chosen=int(accuracies.argmax()))
    assert (len(panel.learning_rates), len(panel.rows)) == (8, 6)
    assert [axis(level) for level in panel.learning_rates[:2]] == ["0.01–0.018", "0.018–0.032"]
    assert axis(panel.rows[0][0]) == "0"  # apart from all others
    assert [axis(1024.0), axis(0.0012345)] == ["1024", "0.00123"]
    (chosen,) = (cell for _, row in panel.rows for cell in row if cell.chosen)
    assert chosen.val_acc == accuracies.max()


@pytest.mark.parametrize(("strengths", "columns"), [(3, 9), (4, 9), (5, 8)])
def test_values_keep_their_own_cells_up_to_four_cells_per_job(strengths: int, columns: int) -> None:
    jobs = pd.DataFrame(
        {
            **{"hidden_size": 8, "l2_reg": np.arange(9) % strengths},
            **{"learning_rate": np.geomspace(0.01, 1, 9), "outcome": "finished"},
            **{"best_val_acc": 0.5, "num_val": 100},
        }
    )
    (panel,) = make_heatmaps(jobs)  # 9 rates × the strengths, of which 36 cells are allowed
    assert len(panel.learning_rates) == columns
