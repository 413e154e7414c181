"""Shares of variance: published analyses of variance, and functions whose shares are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from pipeline.analysis import importance as module
from pipeline.analysis.importance import Importance, concentration, importance

# Montgomery, Design and Analysis of Experiments, Table 5.1: hours that a battery lasts, by its
# material and by temperature, four batteries each.
BATTERIES = {
    (1, 15): (130, 155, 74, 180),
    (1, 70): (34, 40, 80, 75),
    (1, 125): (20, 70, 82, 58),
    (2, 15): (150, 188, 159, 126),
    (2, 70): (136, 122, 106, 115),
    (2, 125): (25, 70, 58, 45),
    (3, 15): (138, 110, 168, 160),
    (3, 70): (174, 120, 150, 139),
    (3, 125): (96, 104, 82, 60),
}
# The same, Table 5.10: the impurity of a product by temperature and pressure, one batch each.
IMPURITY = {100: (5, 4, 6, 3, 5), 125: (3, 1, 4, 2, 3), 150: (1, 1, 3, 1, 2)}
GRID = {
    "hidden_size": (32, 64, 128, 256),
    "l2_reg": (0, 1e-5, 1e-4, 1e-3),
    "learning_rate": (0.03, 0.1, 0.3, 1.0),
}


def shares(found: Importance) -> dict[tuple[str, ...], float]:
    return dict(found.shares.itertuples(index=False, name=None))


def grid(
    accuracy: Callable[..., float], values: Mapping[str, Sequence[Any]] = GRID
) -> pd.DataFrame:
    """A model in each cell."""
    rows = [(*place, accuracy(*place)) for place in product(*values.values())]
    return pd.DataFrame(rows, columns=[*values, "best_val_acc"])


def batteries() -> pd.DataFrame:
    rows = [(*place, hours) for place, cell in BATTERIES.items() for hours in cell]
    return pd.DataFrame(rows, columns=["material", "temperature", "hours"])


def realistic(H: int, l2: float, lr: float) -> float:
    """More units help, the learning rate has an optimum, which depends on H; λ hardly matters."""
    optimum = 0.3 if H > 64 else 1.0
    return 0.9 + 0.01 * np.log2(H / 32) - 0.03 * np.log10(lr / optimum) ** 2 - 2 * l2


def test_replicated_two_way_analysis_of_variance() -> None:
    found = importance(batteries(), ["material", "temperature"], "hours")
    # Sums of squares of Table 5.5: material, temperature, interaction.
    sums = {("material",): 10683.72, ("temperature",): 39118.72}
    sums["material", "temperature"] = 9613.78
    expected = {key: value / sum(sums.values()) for key, value in sums.items()}
    assert shares(found) == pytest.approx(expected, abs=1e-6)
    assert found.shares["values"].tolist()[0] == ("temperature",)
    assert (found.method, found.rest) == ("exact", pytest.approx(0, abs=1e-12))
    # Resources of Table 5.4; ± t(0.975, 27) √(675.21 / 12), from the mean square of the error.
    row = found.marginals.query("name == 'material' and value == 1").iloc[0]
    half = 2.0518305 * (675.21 / 12) ** 0.5
    assert row["mean"] == pytest.approx(83.17, abs=5e-3)
    assert [row["low"], row["high"]] == pytest.approx(row["mean"] + np.array([-half, half]))


def test_two_way_analysis_of_variance_with_one_observation_per_cell() -> None:
    rows = [(t, p, y) for t, row in IMPURITY.items() for p, y in zip(range(5), row, strict=True)]
    models = pd.DataFrame(rows, columns=["temperature", "pressure", "impurity"])
    found = importance(models, ["temperature", "pressure"], "impurity")
    # Table 5.11; without replicates the interaction is the residual.
    assert shares(found) == pytest.approx(
        {
            ("temperature",): 23.33 / 36.93,
            ("pressure",): 11.60 / 36.93,
            ("temperature", "pressure"): 2.00 / 36.93,
        },
        abs=2e-4,
    )
    fit = ols("impurity ~ C(temperature) + C(pressure)", models).fit()
    assert anova_lm(fit)["sum_sq"].tolist() == pytest.approx([23.33, 11.60, 2.00], abs=5e-3)
    # Without replicates the noise is not known: an interval would treat interactions as noise.
    assert found.marginals[["low", "high"]].isna().all(axis=None)


def test_additive_function_has_no_pairs() -> None:
    found = importance(grid(lambda H, l2, lr: H / 1000 + l2 + lr**2 / 10), list(GRID))
    for values, share in shares(found).items():
        assert (share > 1e-9) == (len(values) == 1)
    assert found.rest == pytest.approx(0, abs=1e-12)


def test_pure_interaction_has_no_other_share() -> None:
    sign = {"a": (-1, 1), "b": (-1, 1), "c": (-1, 1)}
    pair = shares(importance(grid(lambda a, b, c: a * b, sign), list(sign)))
    assert pair.pop(("a", "b")) == pytest.approx(1)
    assert max(pair.values()) == pytest.approx(0)
    triple = importance(grid(lambda a, b, c: a * b * c, sign), list(sign))
    assert (triple.shares["share"].max(), triple.rest) == pytest.approx((0, 1))


def test_missing_cells_are_predicted_by_a_forest() -> None:
    models = grid(realistic)
    exact = importance(models, list(GRID))
    models.loc[models.sample(12, random_state=1).index, "best_val_acc"] = np.nan  # they diverged
    found = importance(models, list(GRID))
    assert (exact.method, found.method) == ("exact", "forest")
    assert shares(found) == pytest.approx(shares(exact), abs=0.02)
    assert found.shares["values"][0] == exact.shares["values"][0]
    together = found.marginals.merge(exact.marginals, on=["name", "value"])
    assert len(together) == 12
    assert together["mean_x"].tolist() == pytest.approx(together["mean_y"], abs=0.01)
    assert found.marginals[["low", "high"]].isna().all(axis=None)
    assert (exact.tried, found.tried) == (1, 52 / 64)
    again = importance(models, list(GRID))
    pd.testing.assert_frame_equal(again.shares, found.shares)
    pd.testing.assert_frame_equal(again.marginals, found.marginals)


def test_values_drawn_at_random_need_no_grid() -> None:
    random = np.random.default_rng(0)
    models = pd.DataFrame(random.random((200, 4)), columns=list("abcd"))
    models["best_val_acc"] = models["a"] + 0.3 * models["b"]
    found = importance(models, list("abcd"))
    assert found.method == "forest"
    assert found.shares["values"].tolist()[:2] == [("a",), ("b",)]
    assert shares(found)["a",] == pytest.approx(1 / 1.09, abs=0.05)  # variances 1 and 0.3²
    assert found.marginals.groupby("name").size().prod() <= module.MAX_CELLS


def test_texts_are_values_and_single_values_are_ignored() -> None:
    values = {"dtype": ("float32", "float64"), "hidden_size": (8, 16), "num_epochs": (3,)}
    models = grid(lambda dtype, H, epochs: float(H + (dtype == "float32")), values)
    found = importance(models.astype({"hidden_size": object}), list(values))
    assert shares(found) == pytest.approx(
        {("hidden_size",): 64 / 65, ("dtype",): 1 / 65, ("dtype", "hidden_size"): 0}
    )
    assert found.marginals["value"].tolist() == ["float32", "float64", 8, 16]


def test_one_swept_value_explains_everything() -> None:
    values = {"hidden_size": (8, 16, 32)}
    found = importance(grid(lambda H: H / 100, values), ["hidden_size"])
    assert shares(found) == pytest.approx({("hidden_size",): 1})
    assert found.marginals[["low", "high"]].isna().all(axis=None)
    for models in (grid(lambda H: 0.5, {"hidden_size": (8,)}), grid(lambda H: np.nan, values)):
        found = importance(models, ["hidden_size"])
        assert (len(found.shares), len(found.marginals)) == (0, 0)
        assert (found.rest, found.tried, found.worst_quarter) == (0, 1, 0)
    flat = importance(grid(lambda H: 0.5, values), ["hidden_size"])
    assert shares(flat) == {("hidden_size",): 0}


def test_bad_cells_dominate_the_variance_of_accuracy_but_not_of_the_log_error() -> None:
    # Four cells of the largest rate fail, and H matters among the others.
    models = grid(lambda H, l2, lr: 0.1 if lr == 1 else 0.9 + 0.09 * (H >= 128))
    found = importance(models, list(GRID))
    assert found.shares["values"][0] == ("learning_rate",)
    assert found.worst_quarter == pytest.approx(0.75, abs=0.03)
    models["log_error"] = -np.log(1 - models["best_val_acc"])
    log = shares(importance(models, list(GRID), "log_error"))
    assert log["hidden_size",] > 0.2 > 10 * shares(found)["hidden_size",]


def test_agrees_with_the_importance_evaluators_of_optuna() -> None:
    optuna = pytest.importorskip("optuna")
    models = grid(realistic)
    exact = {
        key[0]: share
        for key, share in shares(importance(models, list(GRID))).items()
        if len(key) == 1
    }
    space = {
        name: optuna.distributions.CategoricalDistribution(values) for name, values in GRID.items()
    }
    study = optuna.create_study(direction="maximize")
    for row in models.to_dict("records"):
        value = row.pop("best_val_acc")
        study.add_trial(optuna.trial.create_trial(params=row, distributions=space, value=value))
    evaluators = optuna.importance
    forest = evaluators.FanovaImportanceEvaluator(seed=0).evaluate(study)
    assert forest == pytest.approx(
        {name: share / sum(exact.values()) for name, share in exact.items()}, abs=0.1
    )
    assert max(forest, key=forest.__getitem__) == max(exact, key=exact.__getitem__)
    # PED-ANOVA compares the best trials with all trials; it agrees on the least important value.
    best = evaluators.PedAnovaImportanceEvaluator().evaluate(study)
    assert min(best, key=best.__getitem__) == min(exact, key=exact.__getitem__) == "l2_reg"


def test_concentration_is_measured_on_the_scale_of_the_sampler() -> None:
    rates = pd.DataFrame({"learning_rate": np.geomspace(1e-4, 1, 40)})
    interval = {"low": 1e-4, "high": 1.0, "log": True}
    assert concentration(rates, {"learning_rate": interval}) == 0.25
    linear = {"learning_rate": interval | {"log": False}}
    assert concentration(rates, linear) > 0.8
    assert concentration(rates[:0], {"learning_rate": interval}) == 0
    assert concentration(rates, {}) == concentration(rates, {"learning_rate": {}}) == 0
