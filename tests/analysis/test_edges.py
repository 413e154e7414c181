"""Largest and smallest tried values, and the commands that go beyond them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import product
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.analysis.edges import find_edges
from pipeline.analysis.spacing import beyond
from pipeline.report.commands import extend
from pipeline.report.suggestions import edge_command, edge_sentence

COMMAND = "python -m pipeline -m experiment=digits"


def models(**values: Sequence[Any]) -> pd.DataFrame:
    return pd.DataFrame(product(*values.values()), columns=[*values], dtype=object)


@pytest.mark.parametrize(
    ("name", "tried", "upwards", "further"),
    [
        ("learning_rate", [0.03, 0.1, 0.3, 1.0], True, [3, 10]),
        ("learning_rate", [0.03, 0.1, 0.3, 1.0], False, [0.01, 0.003]),
        ("learning_rate", [0.1, 0.2, 0.4], True, [0.8, 1.6]),
        ("learning_rate", [0.1, 0.2, 0.3], True, [0.4, 0.5]),
        ("learning_rate", [0.1, 0.2, 0.3], False, [0.06, 0.03]),  # no step is left above 0
        ("learning_rate", [1.5, 2.5, 3.5], False, [0.5]),  # one step is left above 0
        ("learning_rate", [0.1, 0.15, 0.2251], True, [0.3377, 0.5067]),  # almost even
        ("learning_rate", [0.1, 0.3, 1.0], False, [0.03, 0.01]),
        ("learning_rate", [1, 2, 5, 10], True, [20, 50]),
        ("learning_rate", [0.1, 0.25, 0.7], True, [2, 5]),  # uneven: 1.85 and 4.9
        ("l2_reg", [0, 1e-5, 1e-4, 1e-3], True, [0.01, 0.1]),
        ("l2_reg", [0, 0, 1e-3], True, []),  # one value has no spacing
        ("hidden_size", [32, 64, 128, 256], True, [512, 1024]),
        ("hidden_size", [32, 64, 128, 256], False, [16, 8]),
        ("hidden_size", [100, 150, 200], True, [250, 300]),
        ("hidden_size", [1, 2, 4], False, []),
        ("learning_rate_decay", [0.85, 0.9, 0.95], True, [1]),
        ("learning_rate_decay", [0.9, 0.95, 1.0], True, []),
    ],
)
def test_next_values_continue_the_grid(
    name: str, tried: list[float], upwards: bool, further: list[float]
) -> None:
    assert beyond(name, tried, upwards) == pytest.approx(further)


@given(
    first=st.floats(1e-6, 1e3), factor=st.floats(1.5, 20), count=st.integers(3, 6), up=st.booleans()
)
def test_constant_factor_is_continued(first: float, factor: float, count: int, up: bool) -> None:
    tried = [first * factor**i for i in range(count)]
    expected = [tried[-1] * factor, tried[-1] * factor**2] if up else [first / factor]
    assert beyond("learning_rate", tried, up)[: len(expected)] == pytest.approx(expected, rel=1e-5)


def test_best_value_at_an_edge_is_reported_with_a_command() -> None:
    tried = models(
        hidden_size=[32, 64, 128, 256], l2_reg=[0, 1e-5, 1e-4], learning_rate=[0.1, 0.3, 1.0]
    )
    best = {"hidden_size": 256, "l2_reg": 0, "learning_rate": 1.0}
    size, rate = find_edges(tried, best, list(tried))
    assert edge_sentence(size) == (
        "hidden_size=256 is the largest value that was tried: a larger one may be better, "
        "e.g. 512, 1024."
    )
    assert edge_command(COMMAND, size) == f"{COMMAND} hidden_size=256,512,1024"
    assert (rate.end, rate.further) == ("largest", (3, 10))
    assert edge_command(COMMAND, rate) == f"{COMMAND} learning_rate=1,3,10"
    smallest = {"hidden_size": 64, "l2_reg": 1e-5, "learning_rate": 0.1}
    (rate,) = find_edges(tried, smallest, list(tried))  # below λ=1e-5 is 0
    assert (rate.end, rate.further) == ("smallest", (0.03, 0.01))


def test_values_without_order_and_pairs_of_values_have_no_edge() -> None:
    tried = models(dtype=["float32", "float64"], seed=[0, 1, 2, 3], hidden_size=[32, 64])
    assert not find_edges(tried, {"dtype": "float64", "seed": 3, "hidden_size": 64}, [*tried])


@pytest.mark.parametrize(
    ("name", "best", "low", "high", "log", "wider"),
    [
        ("learning_rate", 0.95, 0.01, 1, True, "tag(log,interval(0.01,10))"),
        ("learning_rate", 0.0101, 0.01, 1, True, "tag(log,interval(1e-3,1))"),
        ("learning_rate", 0.9, 0.01, 1, False, None),
        ("l2_reg", 0.99, 0, 1, False, "interval(0,2)"),
        ("l2_reg", 0.01, 0, 1, False, None),
        ("learning_rate_decay", 0.999, 0.9, 1, False, None),
        ("momentum", 0.985, 0.8, 0.99, False, "interval(0.8,0.995)"),
        ("hidden_size", 17, 16, 256, True, "tag(log,int(interval(2,256)))"),
    ],
)
def test_best_value_near_the_end_of_an_interval_suggests_a_wider_one(
    name: str, best: float, low: float, high: float, log: bool, wider: str | None
) -> None:
    tried, searched = models(**{name: [best]}), {name: {"low": low, "high": high, "log": log}}
    found = find_edges(tried, {name: best}, [name], searched)
    assert [shlex.split(edge_command(COMMAND, edge))[-1] for edge in found] == (
        [f"{name}={wider}"] if wider else []
    )
    assert all(" end of the searched interval" in edge_sentence(edge) for edge in found)
    end = "largest" if high - best < best - low else "smallest"
    assert all(edge.end == end for edge in found)


@pytest.mark.parametrize(
    ("command", "extended"),
    [
        ("-m learning_rate=0.1,1 hidden_size=8,16", "-m learning_rate=1,3 hidden_size=8,16"),
        ("-m experiment=digits 'data.dir=my data'", "-m experiment=digits 'data.dir=my data' {}"),
        ("--multirun ++learning_rate=0.1,1 seed=1", "--multirun {} seed=1"),
        ("-m learning_rate_decay=0.9 -cp conf", "-m learning_rate_decay=0.9 {} -cp conf"),
        ("-m", "-m {}"),
        ("seed=1 hydra.mode=MULTIRUN", "-m seed=1 hydra.mode=MULTIRUN {}"),
    ],
)
def test_command_gets_the_new_values(command: str, extended: str) -> None:
    found = extend(f"python -m pipeline {command}", "learning_rate", [1.0, 3.0])
    assert found == f"python -m pipeline {extended.format('learning_rate=1,3')}"
    assert shlex.split(found)[:3] == ["python", "-m", "pipeline"]


def test_every_swept_value_is_examined() -> None:
    tried = models(dtype=["float32", "float64"], learning_rate=[0.1], hidden_size=[32, 64, 128])
    best = {"dtype": "float64", "learning_rate": 0.1, "hidden_size": 128}
    searched = {"learning_rate": {"low": 0.01, "high": 1, "log": True}}
    assert [edge.name for edge in find_edges(tried, best, [*best], searched)] == ["hidden_size"]
