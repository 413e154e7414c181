"""Reference numbers of the trainer. If they change, raise `pipeline.nn.history.VERSION`.

The numbers were recorded in float64 and are compared up to rounding, so that they hold for every
BLAS kernel. They cover momentum, dropout, flip, the penalty and the decay of the learning rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.data.dataset import Dataset
from pipeline.hyperparameters import Hyperparameters
from pipeline.nn.model import init_params
from tests.nn.conftest import best_of, run

CURVE = [
    (2.3020852552191977, 0.11306765523632993, 2.291932059417445, 0.15598885793871867),
    (2.2804246466576066, 0.19462465245597776, 2.262801250816757, 0.27298050139275765),
    (2.2393848253190263, 0.27803521779425394, 2.2059028776414737, 0.3370473537604457),
]
SUMS_OF_SQUARES = [5.75957110225564, 0.06065569819943654, 1.2488777142118823, 0.005671450129967379]
W1_OF_PIXEL_20 = [0.050494682126327746, -0.05827099381734955, 0.022667586460952474]
W2_OF_UNIT_0 = [-0.03759745803161702, -0.06512695415711268, 0.20103545861248567]


def test_initial_weights_are_drawn_from_the_seed_first_w1_then_w2() -> None:
    params = init_params(D=5, H=6, C=4, weight_std=0.5, seed=0, dtype="float64")
    first = [0.06286511054669665, -0.06605243164565094, 0.32021132522164103]
    np.testing.assert_allclose(params.W1[0, 0, :3], first, rtol=1e-12)
    second = [-0.504809091769368, -0.10458778743585653, -0.07961250495723886]
    np.testing.assert_allclose(params.W2[0, 0, :3], second, rtol=1e-12)
    assert not params.b1.any() and not params.b2.any()


def test_curve_and_weights_equal_the_reference(
    digits: Dataset, hyper: Callable[..., Hyperparameters]
) -> None:
    job = hyper(
        hidden_size=8, dtype="float64", momentum=0.9, dropout=0.25, flip=True, learning_rate=0.05
    )
    data = replace(digits, X_train=digits.X_train.astype(float), X_val=digits.X_val.astype(float))
    ends = run([job], data)[0]
    np.testing.assert_allclose([end.row.metrics[:4] for end in ends], CURVE, rtol=1e-6)
    best = best_of(ends)
    assert best is not None
    np.testing.assert_allclose([(array**2).sum() for array in best], SUMS_OF_SQUARES, rtol=1e-6)
    np.testing.assert_allclose(best.W1[0, 20, :3], W1_OF_PIXEL_20, rtol=1e-6)
    np.testing.assert_allclose(best.W2[0, 0, :3], W2_OF_UNIT_0, rtol=1e-6)
