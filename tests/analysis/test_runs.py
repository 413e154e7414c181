"""The table of runs and its ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.analysis.runs import configuration_ids, rank, tabulate

FIRST = {"best_val_acc": 0.9, "best_val_loss": 0.3, "hidden_size": 64, "outcome": "finished"}


@pytest.mark.parametrize(
    ("second", "chosen"),
    [
        ({"best_val_acc": 0.91, "best_val_loss": 9.0, "hidden_size": 512}, 1),
        ({"best_val_acc": 0.89, "best_val_loss": 0.1, "hidden_size": 8}, 0),
        ({"best_val_loss": 0.2, "hidden_size": 512}, 1),
        ({"hidden_size": 9}, 1),  # a number, not a text, which would come after 64
        ({"hidden_size": 100}, 0),
        ({}, 0),
        ({"best_val_acc": 0.99, "outcome": "diverged"}, 0),
        ({"best_val_acc": 0.99, "outcome": "unfinished"}, 0),
        ({"best_val_acc": np.nan, "hidden_size": "abc", "outcome": "failed"}, 0),
    ],
)
def test_choice_and_its_ties(second: dict[str, Any], chosen: int) -> None:
    jobs = pd.DataFrame([FIRST, FIRST | second]).assign(job=[0, 1], configuration=[0, 1])
    assert rank(jobs)["job"].iloc[0] == chosen
    assert rank(jobs[::-1])["job"].iloc[0] == chosen


def test_configuration_with_a_diverged_seed_comes_last() -> None:
    rows = [(8, 0, 0.99, "finished"), (8, 1, np.nan, "diverged"), (16, 0, 0.5, "finished")]
    jobs = pd.DataFrame(rows, columns=["hidden_size", "seed", "best_val_acc", "outcome"])
    jobs = jobs.assign(best_val_loss=0.1, job=range(3), configuration=[0, 0, 1])
    assert rank(jobs)["job"].tolist() == [2, 0]
    jobs.loc[1, "outcome"] = "unfinished"  # an interim report waits for it
    assert rank(jobs)["job"].tolist() == [0, 2]


def test_equal_values_are_one_configuration_whatever_their_text() -> None:
    runs = pd.DataFrame(
        {
            "tags.job": ["0", "1", "2"],
            "params.l2_reg": ["0", "0.0", "1e-4"],
            "params.flip": ["False", "false", "True"],
            "params.seed": ["0", "1", "0"],
        }
    )
    jobs = tabulate(runs)
    assert configuration_ids(jobs).tolist() == jobs["configuration"].tolist() == [0, 0, 1]
    assert jobs["flip"].tolist() == [False, False, True]
    assert jobs["momentum"].tolist() == [0, 0, 0]  # older runs have the neutral value
    assert jobs["outcome"].tolist() == ["unfinished"] * 3


def test_repeated_job_counts_once_in_the_mean_over_seeds() -> None:
    rows = [(0, 0, 0.9), (0, 0, 0.9), (0, 1, 0.8), (1, 0, 0.86), (1, 1, 0.86)]
    jobs = pd.DataFrame(rows, columns=["configuration", "seed", "best_val_acc"]).assign(
        outcome="finished", best_val_loss=0.5, hidden_size=8, job=np.arange(5)
    )
    assert rank(jobs)["configuration"].tolist() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("text", ["9" * 400, "9" * 5000, "1e400", "-inf", "nan", "many", ""])
def test_text_that_is_no_finite_number_stays_a_text(text: str) -> None:
    jobs = tabulate(
        pd.DataFrame({"tags.job": ["0"], "params.seed": [text], "params.l2_reg": [text]})
    )
    assert jobs["seed"].tolist() == jobs["l2_reg"].tolist() == [text]
