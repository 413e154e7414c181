"""The equations: gradients, loss, extreme scores, and the model axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.nn import model
from pipeline.nn.model import Params

N, D, H, C = 7, 5, 6, 4


def draw(K: int, seed: int = 0, weight_std: float = 0.5) -> tuple[Params, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    models = [model.init_params(D, H, C, weight_std, seed + k, "float64") for k in range(K)]
    params = Params(*(np.concatenate(arrays) for arrays in zip(*models, strict=True)))
    params.b1[:] = rng.normal(size=params.b1.shape)
    params.b2[:] = rng.normal(size=params.b2.shape)
    return params, rng.normal(size=(N, D)), rng.integers(0, C, N)


def numeric(f: Callable[[], np.ndarray], x: np.ndarray, k: int, step: float = 1e-5) -> np.ndarray:
    """Central differences of f()[k] in every entry of x, which is changed in place."""
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + step
        above = f()[k]
        x[i] = kept - step
        below = f()[k]
        x[i] = kept
        gradient[i] = (above - below) / (2 * step)
    return gradient


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(a) + np.linalg.norm(b), 1e-30))


@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("l2_reg", [0.0, 0.1])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("label_smoothing", [None, 0.1])
@pytest.mark.parametrize("share", [None, 0.7])
def test_gradients_equal_central_differences_of_the_loss(
    K: int, l2_reg: float, dropout: float, label_smoothing: float | None, share: float | None
) -> None:
    params, X, y = draw(K)
    column = np.full((K, 1, 1), l2_reg)
    noise = np.random.default_rng(1).random((N, H))
    mask = model.dropout_mask(noise, np.full((K, 1, 1), dropout)) if dropout else None
    smoothing = np.full((K, 1, 1), label_smoothing) if label_smoothing else None
    mixture = model.Mixture(np.roll(y, 1), share) if share else None

    def loss() -> np.ndarray:
        return model.loss_and_grads(params, X, y, column, mask, smoothing, mixture)[0]

    _, gradients, dX = model.loss_and_grads(params, X, y, column, mask, smoothing, mixture)
    assert [g.shape for g in gradients] == [array.shape for array in params]
    for k in range(K):
        for name, array, gradient in zip(Params._fields, params, gradients, strict=True):
            assert relative_error(numeric(loss, array[k], k), gradient[k]) < 1e-8, name
        assert relative_error(numeric(loss, X, k), dX[k]) < 1e-8


def test_the_gradient_of_the_relu_at_zero_is_zero() -> None:
    params, X, y = draw(1)
    params.W1[0, :, 0] = 0
    params.b1[0, 0, 0] = 0  # H0 = 0 for every image
    column = np.full((1, 1, 1), 0.1)
    H, _ = model.forward(params, X)
    assert (H[0, :, 0] == 0).all()
    _, gradients, dX = model.loss_and_grads(params, X, y, column)
    assert (gradients.W1[0, :, 0] == 0).all()
    assert gradients.b1[0, 0, 0] == 0
    for name in ("b1", "W1"):  # only the entries that do not sit on the kink
        others = (..., slice(1, None))
        got = numeric(
            lambda: model.loss_and_grads(params, X, y, column)[0], getattr(params, name)[0], 0
        )
        assert relative_error(got[others], getattr(gradients, name)[0][others]) < 1e-8
    params.b1[0, 0, 0] = -1  # the dead side
    assert np.array_equal(dX, model.loss_and_grads(params, X, y, column)[2])


def test_the_loss_equals_the_formula() -> None:
    params, X, y = draw(1)
    W1, b1, W2, b2 = (array[0] for array in params)
    S = np.maximum(0, X @ W1 + b1) @ W2 + b2
    softmax = np.exp(S) / np.exp(S).sum(axis=1, keepdims=True)
    data_loss = -np.log(softmax[np.arange(N), y]).mean()
    expected = data_loss + 0.1 * (W1**2).sum() + 0.1 * (W2**2).sum()
    got, _, _ = model.loss_and_grads(params, X, y, np.full((1, 1, 1), 0.1))
    np.testing.assert_allclose(got, [expected], rtol=1e-12)


def test_label_smoothing_is_the_cross_entropy_with_smoothed_labels() -> None:
    rng = np.random.default_rng(0)
    S, y, ε = rng.normal(size=(2, N, C)), rng.integers(0, C, N), np.array([0.1, 0.3])
    log_softmax = S - np.log(np.exp(S).sum(axis=2, keepdims=True))
    onehot = np.eye(C)[y]
    losses, hits, _ = model.cross_entropy(S.copy(), y, ε[:, None, None])
    for k in range(2):
        q = (1 - ε[k]) * onehot + ε[k] / C
        np.testing.assert_allclose(losses[k], -(q * log_softmax[k]).sum(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(hits, S.argmax(axis=2) == y)


@pytest.mark.parametrize("label_smoothing", [None, 0.2])
def test_the_loss_of_mixup_is_the_cross_entropy_with_mixed_labels(
    label_smoothing: float | None,
) -> None:
    rng = np.random.default_rng(0)
    S, y, others = rng.normal(size=(1, N, C)), rng.integers(0, C, N), rng.integers(0, C, N)
    log_softmax = S[0] - np.log(np.exp(S[0]).sum(axis=1, keepdims=True))
    ε = label_smoothing or 0.0
    q = (1 - ε) * (0.7 * np.eye(C)[y] + 0.3 * np.eye(C)[others]) + ε / C
    smoothing = np.full((1, 1, 1), ε) if label_smoothing else None
    losses, hits, dS = model.cross_entropy(S.copy(), y, smoothing, model.Mixture(others, 0.7))
    np.testing.assert_allclose(losses[0], -(q * log_softmax).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(dS[0] * N, np.exp(log_softmax) - q, atol=1e-12)
    np.testing.assert_array_equal(hits[0], S[0].argmax(axis=1) == y)


def test_he_initialisation_has_the_deviation_of_each_layer() -> None:
    params = model.init_params(800, 200, 50, "he", 0, "float64")
    assert params.W1.std() == pytest.approx((2 / 800) ** 0.5, rel=0.02)
    assert params.W2.std() == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    scaled = model.init_params(800, 200, 50, (2 / 800) ** 0.5, 0, "float64")
    assert np.array_equal(params.W1, scaled.W1)


def test_the_initial_loss_of_tiny_weights_is_the_log_of_the_number_of_classes() -> None:
    params = model.init_params(D, H, 10, 1e-4, 0, "float32")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, D)).astype("float32")
    loss, _, _ = model.loss_and_grads(params, X, np.arange(100) % 10, np.zeros((1, 1, 1)))
    assert abs(loss[0] - np.log(10)) < 1e-3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_scores_give_finite_losses_and_gradients(dtype: str) -> None:
    S = np.array([[[1e4, -1e4, 0], [-1e4, 1e4, 0], [-1e4, -1e4, 1e4]]], dtype)
    losses, hits, dS = model.cross_entropy(S, np.array([1, 1, 2]))
    assert hits.tolist() == [[False, True, True]]
    np.testing.assert_array_equal(losses, [[2e4, 0, 0]])
    np.testing.assert_allclose(dS[0] * 3, [[1, -1, 0], [0, 0, 0], [0, 0, 0]])


SCORES = st.floats(-(2.0**100), 2.0**100, width=32)


@given(
    S=arrays(np.float32, st.tuples(st.integers(1, 3), st.just(N), st.just(C)), elements=SCORES),
    y=arrays(np.int64, N, elements=st.integers(0, C - 1)),
)
def test_any_finite_scores_give_finite_losses_and_gradients_that_sum_to_zero(
    S: np.ndarray, y: np.ndarray
) -> None:
    predicted = S.argmax(axis=2)
    losses, hits, dS = model.cross_entropy(S.copy(), y)
    assert np.isfinite(losses).all() and (losses >= 0).all()
    np.testing.assert_array_equal(hits, predicted == y)
    np.testing.assert_allclose(dS.sum(axis=2), 0, atol=1e-6)
    assert np.abs(dS).max() <= 1 / N + 1e-7


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loss_and_grads_of_a_model_have_the_same_bits_alone_and_in_a_stack(dtype: str) -> None:
    params, X, y = draw(4)
    params = Params(*(array.astype(dtype) for array in params))
    X = X.astype(dtype)
    l2_reg = np.array([0, 0.1, 0.2, 0.3], dtype)[:, None, None]
    loss, gradients, dX = model.loss_and_grads(params, X, y, l2_reg)
    for k in range(4):
        alone = Params(*(array[k : k + 1] for array in params))
        loss_1, gradients_1, dX_1 = model.loss_and_grads(alone, X, y, l2_reg[k : k + 1])
        assert loss_1[0] == loss[k]
        for a, b in zip((*gradients_1, dX_1), (*gradients, dX), strict=True):
            assert np.array_equal(a[0], b[k])


def test_dropout_disables_the_given_share_of_units_and_keeps_the_mean() -> None:
    noise = np.random.default_rng(0).random((200, 500), np.float32)
    mask = model.dropout_mask(noise, np.array([0.2, 0.5], np.float32)[:, None, None])
    assert mask.dtype == np.float32
    np.testing.assert_allclose((mask == 0).mean(axis=(1, 2)), [0.2, 0.5], atol=0.01)
    np.testing.assert_allclose(mask.mean(axis=(1, 2)), 1, atol=0.02)


def test_the_prediction_is_the_first_class_with_the_highest_score() -> None:
    params = model.init_params(D, H, C, 0, 0, "float32")
    params.b2[0, 0] = [0, 1, 1, 0]
    assert (model.predict(params, np.ones((3, D), "float32")) == 1).all()


def test_both_dtypes_start_from_the_same_weights() -> None:
    single = model.init_params(D, H, C, 0.1, 3, "float32")
    double = model.init_params(D, H, C, 0.1, 3, "float64")
    assert np.array_equal(single.W1, double.W1.astype("float32"))
    assert abs(model.init_params(500, 100, C, 0.1, 3, "float64").W1.std() - 0.1) < 1e-3
