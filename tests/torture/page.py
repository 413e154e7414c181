"""Writes docs/reliability.md: the disturbances, their counts and the results."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

from pipeline.paths import ROOT
from tests.torture.lab import Lab
from tests.torture.trials import Row

KEPT = "<!-- make torture writes the text above and keeps the text below. -->"


def write_page(text: str, path: Path) -> None:
    """Replace the part of the page that this module writes, and keep the rest."""
    kept = path.read_text(encoding="utf-8").partition(KEPT)[1:]
    path.write_text(f"{text}\n{''.join(kept)}" if any(kept) else text, encoding="utf-8")


def page(lab: Lab, rows: Sequence[tuple[str, Row]], seed: int, seconds: float) -> str:
    """The page as Markdown."""
    return "\n".join(_lines(lab, rows, seed, seconds)) + "\n"


def _lines(lab: Lab, rows: Sequence[tuple[str, Row]], seed: int, seconds: float) -> Iterator[str]:
    done = sum(row.done for _, row in rows)
    failed = sum(len({f.partition(" | ")[0] for f in row.failures}) for _, row in rows)
    yield "# Reliability"
    yield ""
    yield (
        f"`make torture` wrote this page. It ran {done} trials in {seconds / 60:.0f} minutes: "
        f"{done - failed} passed, {failed} failed. Each trial disturbs a sweep of "
        f"{len(lab.reference)} models on digits. The sweep uses the real command line and a real "
        f"sqlite store. A generator with seed {seed} chooses the moment; `python -m tests.torture "
        f"--seed {seed} --only NAME` repeats one trial.\n\n"
        "After each trial, a separate program reads the results. It compares each metric of each "
        "epoch and all weights bit for bit. It also checks that each job has one FINISHED run, no "
        "metric was written twice, no run is still RUNNING, sqlite finds the database intact, no "
        "checkpoint is left over, and the report is complete."
    )
    yield ""
    yield f"Two undisturbed sweeps: {'; '.join(lab.start_problems) or 'equal bit for bit'}."
    yield ""
    yield "| Subject | Disturbance | Trials (of planned) | Passed | Requirement | When |"
    yield "|---|---|---|---|---|---|"
    for section, row in rows:
        bad = len({failure.partition(" | ")[0] for failure in row.failures})
        points = ", ".join(f"{n} {kind}" for kind, n in row.points.most_common())
        yield (
            f"| {section} (`{row.kind.name}`) | {row.kind.done} | {row.done} of {row.planned} "
            f"| {row.done - bad} | {row.kind.held} | {points} |"
        )
    if failures := [failure for _, row in rows for failure in row.failures]:
        yield ""
        yield "## Failures"
        yield ""
        yield "| Trial | Point | Problem |"
        yield "|---|---|---|"
        yield from (f"| {_plain(failure)} |" for failure in failures)
    yield ""
    yield "## Machine"
    yield ""
    memory = psutil.virtual_memory().total / 2**30
    yield f"- {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"
    packages = ("mlflow", "hydra-core", "numpy", "joblib")
    yield f"- Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    yield f"- {', '.join(f'{package} {version(package)}' for package in packages)}"
    yield f"- Time of an undisturbed sweep next to another one: {lab.seconds:.1f} s"


def _plain(failure: str) -> str:
    """A failure for a cell of the table, without the names of folders on this machine."""
    text = " ".join(failure.split()).replace(str(ROOT), "…")
    text = re.sub(r"/\S*torture-\w+\S*", "…", text)
    cells = text.split(" | ", 2)
    return " | ".join(re.sub(r"([|<>`])", r"\\\1", cell)[:400] for cell in cells)


def _processor() -> str:
    names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return names[0] if names else platform.processor()
