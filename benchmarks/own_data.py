"""Own data: accuracy against scikit-learn, memory of a 4 GB file: python -m benchmarks.own_data.

Each dataset is written as .npz, .csv and .parquet and swept by the real command. GridSearchCV then
trains as many MLPClassifiers on the same training rows, for as many epochs, and scores them on the
same validation rows. MLPClassifier keeps its default optimiser, Adam. With --large, a file of 4 GB
is trained instead.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_wine, make_classification
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neural_network import MLPClassifier

from benchmarks.measure import CORES, Mode, Samples, arguments, fresh_folder, save, start
from benchmarks.memory import peak_memory
from benchmarks.sweep import SWEEP
from pipeline.config import DataConfig
from pipeline.data.load import load

FORMATS = ("npz", "csv", "parquet")
SIZES, PENALTIES, OUR_RATES, THEIR_RATES = (
    (32, 128),
    (1e-4, 1e-2),
    (0.03, 0.1, 0.3),
    (3e-4, 1e-3, 1e-2),
)
LARGE = (1_000_000, 1000)  # float32: 4 GB
HIDDEN = 64


def datasets(smoke: bool) -> Iterator[tuple[str, np.ndarray, np.ndarray, int]]:
    """Yield the name, X, y and the number of epochs of each dataset."""
    yield "wine", *load_wine(return_X_y=True), 100
    yield "breast_cancer", *load_breast_cancer(return_X_y=True), 100
    rows = 500 if smoke else 20_000
    X, y = make_classification(rows, 100, n_informative=20, n_classes=5, random_state=0)
    yield "synthetic", X, y, 30


def write(folder: Path, name: str, X: np.ndarray, y: np.ndarray) -> None:
    """Write a dataset in each format."""
    np.savez(folder / f"{name}.npz", X=X, y=y)
    frame = pd.DataFrame(X, columns=[f"x{d}" for d in range(X.shape[1])]).assign(label=y)
    frame.to_csv(folder / f"{name}.csv", index=False)
    frame.to_parquet(folder / f"{name}.parquet", index=False)


def swept(path: Path, epochs: int, folder: Path) -> float:
    """Sweep a file with the real command; returns the validation accuracy of the best model."""
    data = ["data=npz"] if path.suffix == ".npz" else ["data=table", "data.target=label"]
    grid = {"hidden_size": SIZES, "l2_reg": PENALTIES, "learning_rate": OUR_RATES}
    values = [f"{key}={','.join(map(str, choices))}" for key, choices in grid.items()]
    more = [
        f"data.file={path}",
        f"num_epochs={epochs}",
        "batch_size=20",
        "learning_rate_decay=0.97",
    ]
    command = [*SWEEP, *data, *more, *values]
    if start(command, folder).wait():
        sys.exit(f"failed: {' '.join(command)}, see {folder}")
    (report,) = folder.glob("**/reports/2*/report.json")
    best: Mapping[str, Any] = json.loads(report.read_text())["best"]
    return float(best["val_acc"])


def searched(path: Path, epochs: int) -> float:
    """The best validation accuracy of GridSearchCV over MLPClassifier on the same splits."""
    data = load(DataConfig(name="own", kind="npz", file=str(path)), "float64")
    X, y = np.concatenate([data.X_train, data.X_val]), np.concatenate([data.y_train, data.y_val])
    fold = np.repeat([-1, 0], [len(data.y_train), len(data.y_val)])
    grid = {
        "hidden_layer_sizes": [(H,) for H in SIZES],
        "alpha": PENALTIES,
        "learning_rate_init": THEIR_RATES,
    }
    model = MLPClassifier(max_iter=epochs, random_state=0)
    search = GridSearchCV(model, grid, cv=PredefinedSplit(fold), n_jobs=CORES, refit=False)
    search.fit(X, y)
    return float(np.max(search.cv_results_["mean_test_score"]))


def compare(mode: Mode) -> None:
    """Sweep each dataset in each format, and print the table of docs/own_data.md."""
    results = {}
    print(f"| dataset | {' | '.join(FORMATS)} | GridSearchCV |\n|{' --- |' * 5}")
    for name, X, y, epochs in datasets(mode is Mode.SMOKE):
        with fresh_folder() as files:
            write(files, name, X, y)
            ours = {}
            for form in FORMATS:
                with fresh_folder() as folder:
                    ours[form] = swept(files / f"{name}.{form}", epochs, folder)
            theirs = searched(files / f"{name}.npz", epochs)
        results[name] = {**ours, "GridSearchCV": theirs, "shape": X.shape}
        print(
            f"| {name} | {' | '.join(f'{a:.4f}' for a in (*ours.values(), theirs))} |", flush=True
        )
    save("own_data", mode, results)


def large(mode: Mode) -> None:
    """Train on a file of 4 GB, and print the peak memory and its bound."""
    N, D = (2000, 1000) if mode is Mode.SMOKE else LARGE
    with fresh_folder() as files:
        path = files / "large.npz"
        rng = np.random.default_rng(0)
        X = np.lib.format.open_memmap(files / "X.npy", "w+", np.float32, (N, D))
        for begin in range(0, N, 10_000):
            X[begin : begin + 10_000] = rng.random((min(10_000, N - begin), D), np.float32)
        np.savez(path, X=X, y=rng.integers(0, 10, N))
        size = X.nbytes
        del X
        (files / "X.npy").unlink()
        samples = Samples()
        values = [f"hidden_size={HIDDEN},{2 * HIDDEN}", "num_epochs=1", "batch_size=1000"]
        with fresh_folder() as folder:
            peak_memory([*SWEEP, "data=npz", f"data.file={path}", *values], folder, samples)
    weights = sum(4 * (D * H + 11 * H + 10) for H in (HIDDEN, 2 * HIDDEN))
    (peak,) = samples.notes["peak_bytes"]
    bound = 1.3 * size + 3 * weights + 300e6
    print(
        f"file {size / 1e9:.2f} GB as float32, peak {peak / 1e9:.2f} GB, bound {bound / 1e9:.2f} GB"
    )
    save("own_data_large", mode, {"bytes": size, "bound": bound, "sweep": asdict(samples)})


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, or measure the memory of a large file."""
    parser = arguments(__doc__, repeats=1)
    parser.add_argument("--large", action="store_true", help="train on a file of 4 GB instead")
    options = parser.parse_args(argv)
    (large if options.large else compare)(options.mode)


if __name__ == "__main__":
    main()
