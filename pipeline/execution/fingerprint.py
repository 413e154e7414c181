"""The fingerprint of a job: equal fingerprints mean bitwise equal results."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from pipeline.hyperparameters import HYPERPARAMETERS, Hyperparameters
from pipeline.nn.population import trainer_version


def fingerprint(hyperparameters: Hyperparameters, digest: str) -> str:
    """Hash everything that determines the curve and the weights of a job.

    Args:
        hyperparameters: of the job.
        digest: of the images, their preprocessing and their split (`Dataset.digest`).

    Returns:
        32 hexadecimal digits.
    """
    values = {
        key: _canonical(value)
        for key, value in asdict(hyperparameters).items()
        if HYPERPARAMETERS[key].is_hashed(value)
    }
    version = trainer_version(hyperparameters.hidden_size)
    text = json.dumps([version, digest, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _canonical(value: Any) -> Any:
    """Write equal numbers in the same way: l2_reg=0 and l2_reg=0.0 are one value."""
    return float(value) if isinstance(value, int) else value
