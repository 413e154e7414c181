"""Results of commit fcaea42, to which later versions must be equal bit by bit.

`digests.json` holds, for each BLAS kernel (as threadpoolctl names it) and each job of two sweeps
on the digits, SHA-256 digests of the weights, the validation hits and the metrics. The results in
float64 also depend on NumPy's own AVX-512 loops, so these jobs have two sets of digests.

`store-v1.zip` is an outputs folder of that commit: a finished job, a diverged job, a champion, and
a job that was killed in its fourth epoch. `store-v1.json` states the commands that made it and the
expected result of the resumed job.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run
from threadpoolctl import threadpool_info

FOLDER = Path(__file__).parent
PARAMS = (
    *("batch_size", "data.name", "dropout", "dtype", "flip", "hidden_size", "l2_reg"),
    *("learning_rate", "learning_rate_decay", "momentum", "num_epochs", "seed", "weight_std"),
)


def kernel() -> str:
    """The BLAS kernel of NumPy in this process."""
    found = [each for each in threadpool_info() if each["user_api"] == "blas"]
    best = max(found, key=lambda each: "numpy" in each["filepath"], default={})
    return str(best.get("architecture", "unknown"))


def has_avx512_loops() -> bool:
    """Whether NumPy's own float64 loops use AVX-512 in this process."""
    loops = np.lib.introspect.opt_func_info(func_name="^(add|exp|log|maximum)$")
    kinds = {kind["current"] for types in loops.values() for kind in types.values()}
    return any("AVX512" in kind or "X86_V4" in kind for kind in kinds)


def results(uri: str) -> dict[str, dict[str, Any]]:
    """The digests of all finished job runs of a store, by their hyperparameters."""
    client = MlflowClient(uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(experiments, "attributes.status = 'FINISHED'", max_results=1000)
    jobs = [run for run in runs if "fingerprint" in run.data.tags]
    return {_key(run.data.params): _digests(client, run) for run in jobs}


def condense(job: dict[str, Any]) -> dict[str, Any]:
    """The digests of a job from its full description: weights, hits and metrics."""
    return {
        "outcome": job["outcome"],
        "fingerprint": job["fingerprint"],
        "weights": _digest(job["weights"]),
        "val_hits": _digest(job["val_hits"]),
        "metrics": _digest(job["metrics"]),
    }


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _key(params: dict[str, str]) -> str:
    def plain(text: str) -> str:
        try:
            return repr(float(text))
        except ValueError:
            return text.lower()

    return " ".join(f"{name}={plain(params[name])}" for name in PARAMS)


def _digests(client: MlflowClient, run: Run) -> dict[str, Any]:
    run_id = run.info.run_id
    metrics = {
        name: {str(m.step): repr(float(m.value)) for m in client.get_metric_history(run_id, name)}
        for name in run.data.metrics
        if name not in ("test_acc", "num_test")  # only the chosen model has them
    }
    weights: dict[str, str] = {}
    hits: dict[str, str] = {}
    files = {file.path for file in client.list_artifacts(run_id)}
    with tempfile.TemporaryDirectory() as folder:
        for name in files & {"weights.npz", "val_hits.npz"}:
            path = client.download_artifacts(run_id, name, folder)
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file}
            if name == "val_hits.npz":
                hits = {key: array.tobytes().hex() for key, array in arrays.items()}
            else:
                weights = {
                    key: hashlib.sha256(
                        f"{array.dtype.str} {array.shape} ".encode() + array.tobytes("C")
                    ).hexdigest()
                    for key, array in arrays.items()
                    if key in ("W1", "b1", "W2", "b2")
                }
    tags = run.data.tags
    described = {"outcome": tags["outcome"], "fingerprint": tags["fingerprint"]}
    return condense({**described, "weights": weights, "val_hits": hits, "metrics": metrics})
