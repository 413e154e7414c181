"""Costs and the Pareto front."""

from __future__ import annotations

from itertools import product

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from pipeline.analysis.costs import costs, pareto


def test_cost_counts_the_multiply_adds_of_all_matrix_products() -> None:
    rows = product([8, 32], [2, 5], [100], [20])
    table = pd.DataFrame(rows, columns=["hidden_size", "num_epochs", "num_train", "num_val"])
    found = costs(table, num_inputs=64, num_classes=10)
    assert found["prediction"].tolist() == [8 * 74, 8 * 74, 32 * 74, 32 * 74]
    assert found["training"].tolist() == [
        epochs * (100 * hidden * (2 * 64 + 3 * 10) + 20 * hidden * 74)
        for hidden, epochs in [(8, 2), (8, 5), (32, 2), (32, 5)]
    ]


def test_pareto_front_has_no_model_that_another_beats() -> None:
    rows = [("a", 3, 0.9), ("b", 1, 0.7), ("c", 2, 0.6), ("d", 3, 0.8), ("e", 2, 0.85)]
    rows += [("f", 2, 0.85), ("g", 4, 0.9), ("h", 0, float("nan"))]
    table = pd.DataFrame(rows, columns=["name", "cost", "best_val_acc"])
    assert pareto(table, "cost")["name"].tolist() == ["b", "e", "f", "a"]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_every_other_model_is_beaten_by_one_of_the_front(pairs: list[tuple[int, int]]) -> None:
    table = pd.DataFrame(pairs, columns=["cost", "best_val_acc"])
    front = pareto(table, "cost")
    kept = list(front.itertuples(index=False, name=None))
    assert front["cost"].is_monotonic_increasing
    for cost, accuracy in pairs:
        beaten = any(c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a in kept)
        assert ((cost, accuracy) in kept) != beaten
