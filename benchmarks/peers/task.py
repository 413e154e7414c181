"""The task of a sweep, which every peer reads from a file: data, values and grid."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.config import DataConfig
from pipeline.data.dataset import Dataset
from pipeline.data.load import load
from pipeline.hyperparameters import Hyperparameters


@dataclass(frozen=True)
class Task:
    """The data, the split, the values and the grid of a sweep of this project."""

    data: DataConfig
    values: Mapping[str, Any]  # equal for every job
    grid: Mapping[str, Sequence[Any]]  # swept; these replace `values`

    @classmethod
    def read(cls, path: Path) -> Task:
        """Read the file of `write`."""
        stored = json.loads(path.read_text())
        return cls(DataConfig(**stored["data"]), stored["values"], stored["grid"])

    def write(self, path: Path) -> None:
        """Write the task for a peer."""
        path.write_text(json.dumps(asdict(self)))

    def job(self, choice: Mapping[str, Any]) -> Hyperparameters:
        """Create the job of one combination of the grid."""
        return Hyperparameters(**{**self.values, **choice})

    def choices(self) -> Iterator[dict[str, Any]]:
        """Iterate over the combinations of the grid."""
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))

    def load(self) -> Dataset:
        """Load the training and validation images."""
        return load(self.data, self.values["dtype"])


def report_best(val_acc: float, jobs: int) -> None:
    """Write the result to the file that the benchmark reads."""
    Path("result.json").write_text(json.dumps({"best_val_acc": val_acc, "jobs": jobs}))
