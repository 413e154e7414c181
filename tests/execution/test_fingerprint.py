"""The fingerprint of a job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

from pipeline.execution.fingerprint import fingerprint
from pipeline.hyperparameters import Hyperparameters

Hyper = Callable[..., Hyperparameters]


def test_every_hyperparameter_and_the_data_change_the_fingerprint(hyper: Hyper) -> None:
    first = hyper(l2_reg=1)
    assert fingerprint(first, "digest") == fingerprint(hyper(l2_reg=1.0), "digest")
    changed: dict[str, object] = {"dtype": "float64", "momentum": 0.5, "dropout": 0.5, "flip": True}
    changed |= {"select_by": "val_loss", "label_smoothing": 0.5, "ema": 0.5}
    changed |= {"schedule": "cosine", "nesterov": True}
    names = {fingerprint(first, "digest"), fingerprint(first, "other")}
    for field in fields(Hyperparameters):
        value = changed.get(field.name) or getattr(first, field.name) + 1
        names.add(fingerprint(replace(first, **{field.name: value}), "digest"))
    assert len(names) == 2 + len(fields(Hyperparameters))
