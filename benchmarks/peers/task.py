"""What a sweep is to train, handed to every peer as a file: data, values and grid."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.config import DataConfig, Hyperparameters
from pipeline.data.dataset import Dataset
from pipeline.data.load import load


@dataclass(frozen=True)
class Task:
    """The same data, split, values and grid as the sweep of this project."""

    data: DataConfig
    values: Mapping[str, Any]  # of every job
    grid: Mapping[str, Sequence[Any]]  # swept: replace `values`

    @classmethod
    def read(cls, path: Path) -> Task:
        """Read what `write` has written."""
        stored = json.loads(path.read_text())
        return cls(DataConfig(**stored["data"]), stored["values"], stored["grid"])

    def write(self, path: Path) -> None:
        """Write it for a peer."""
        path.write_text(json.dumps(asdict(self)))

    def job(self, choice: Mapping[str, Any]) -> Hyperparameters:
        """The job of a choice from the grid."""
        return Hyperparameters(**{**self.values, **choice})

    def choices(self) -> Iterator[dict[str, Any]]:
        """All combinations of the grid."""
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))

    def load(self) -> Dataset:
        """Training and validation images."""
        return load(self.data, self.values["dtype"])


def report_best(val_acc: float, jobs: int) -> None:
    """Leave the result where the benchmark looks for it."""
    Path("result.json").write_text(json.dumps({"best_val_acc": val_acc, "jobs": jobs}))
