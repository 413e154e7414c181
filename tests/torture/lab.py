"""The sweep that the trials disturb, and its results without a disturbance."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.torture.command import HUNG, Command, Ended, run
from tests.torture.results import Job, problems, results

# Four models that finish and four that diverge in epoch 6, in two populations.
GRID = ("hidden_size=32,96", "l2_reg=1e-4,3.5", "learning_rate=0.3", "learning_rate_decay=0.999")
SWEEP = ("-m", *GRID, "batch_size=20", "num_epochs=30", "tracking.checkpoint_minutes=0.005")
SEEDS = "seed=0,1"


@dataclass(frozen=True)
class Lab:
    """The values that all trials share."""

    root: Path
    sweep: tuple[str, ...]  # the arguments of the disturbed command
    seconds: float  # of an undisturbed sweep next to another one
    reference: Mapping[str, Job]  # its results
    finished: Path  # the outputs of an undisturbed sweep
    start_problems: tuple[str, ...]  # of two undisturbed sweeps

    def outputs(self, folder: Path) -> Path:
        """Outputs with an empty store; creating it for each trial would take seconds."""
        outputs = folder / "outputs"
        shutil.copytree(self.root / "template", outputs)
        return outputs

    def end_well(self, outputs: Path, *more: str) -> Iterator[str]:
        """Rerun the same command, and compare the results with an undisturbed sweep."""
        ended = run(outputs, *self.sweep, *more)
        yield from not_well(ended)
        yield from problems(outputs, self.reference)


def not_well(ended: Ended) -> Iterator[str]:
    """The problems of a command that should have succeeded."""
    if ended.code != 0:
        yield f"exit {ended.code} in place of 0: {ended.last_lines}"
    yield from no_traceback(ended)


def no_traceback(ended: Ended) -> Iterator[str]:
    """Check that a command ended without a traceback."""
    _, found, trace = ended.said.rpartition("Traceback (most recent call last):\n")
    if found:
        lines = [line.strip() for line in trace.splitlines() if line.strip()]
        yield f"a traceback: {' / '.join(lines[:4])[:300]!r}"
    if ended.code == HUNG:
        yield "it did not end"


def prepare(root: Path, sweep: Sequence[str] = (*SWEEP, SEEDS), times: int = 2) -> Lab:
    """Create an empty store, and run some undisturbed sweeps at the same time."""
    template = root / "template"
    template.mkdir()
    create = (
        "import sys; from pipeline.tracking.store import Store; Store(f'sqlite:///{sys.argv[1]}')"
    )
    subprocess.run([sys.executable, "-c", create, template / "mlflow.db"], cwd=root, check=True)
    twins = [root / f"undisturbed-{i}" / "outputs" for i in range(times)]
    for twin in twins:
        twin.parent.mkdir()
        shutil.copytree(template, twin)
    commands = [Command(twin, *sweep) for twin in twins]
    ends = [command.end() for command in commands]
    reference = results(twins[0] / "mlflow.db")
    found = [problem for ended in ends for problem in not_well(ended)]
    for twin in twins:
        found += problems(twin, reference)
    seconds = sum(ended.seconds for ended in ends) / times
    return Lab(root, tuple(sweep), seconds, reference, twins[0], tuple(found))
