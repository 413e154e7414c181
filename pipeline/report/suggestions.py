"""Suggestions for the next sweep: values beyond the edges, or more seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.analysis.edges import Edge, Interval
from pipeline.analysis.result import Evidence, SweepAnalysis
from pipeline.config import short
from pipeline.hyperparameters import HYPERPARAMETERS
from pipeline.report.commands import extend, override
from pipeline.report.formatting import show

MANY_SEEDS = 5  # seeds of the best configuration above which no more are suggested


def edge_sentence(edge: Edge) -> str:
    """The edge, and the direction in which better values may be."""
    more = "larger" if edge.end == "largest" else "smaller"
    if edge.wider is not None:
        end = "upper" if edge.end == "largest" else "lower"
        return (
            f"{edge.name}={short(float(f'{edge.value:.3g}'))} is near the {end} end of the "
            f"searched interval: a {more} value may be better."
        )
    return (
        f"{edge.name}={short(edge.value)} is the {edge.end} value that was tried: a {more} one may "
        f"be better, e.g. {', '.join(map(short, edge.further))}."
    )


@dataclass(frozen=True)
class Step:
    """What to do next, as one command."""

    reasons: tuple[str, ...]  # sentences
    action: str
    num_jobs: int | None  # of the command; None: a search decides
    command: str

    @property
    def summary(self) -> str:
        """The action with its number of jobs."""
        jobs = "" if self.num_jobs is None else f" ({self.num_jobs:,} jobs)"
        return f"Next step: {self.action}{jobs}"

    @property
    def sentences(self) -> tuple[str, ...]:
        """The reasons, and the action with its command."""
        return *self.reasons, f"{self.summary}: {self.command}"


def next_step(found: SweepAnalysis) -> Step | None:
    """Go beyond the edges of the grid; without edges, repeat the tied configurations with seeds."""
    try:
        return _next_step(found, found.evidence) if found.evidence is not None else None
    except ValueError:  # the store holds a command that no shell accepts
        return None


def _next_step(found: SweepAnalysis, evidence: Evidence) -> Step | None:
    if evidence.edges:
        return _beyond_edges(found, evidence)
    tied = evidence.configurations[evidence.configurations["group"] != "other"]
    if found.sweep.searched or len(tied) < 2 or evidence.estimate.num_seeds > MANY_SEEDS:
        return None
    seeds = _more_seeds([seed for seed in found.jobs["seed"].unique() if isinstance(seed, int)])
    values = {name: _values(tied, name) for name in evidence.swept} | {"seed": seeds}
    grid = math.prod(map(len, values.values())) // len(seeds)
    action = f"repeat the {len(tied)} best configurations with {len(seeds)} seeds"
    if grid > len(tied):
        action = f"repeat the grid of the {len(tied)} best configurations with {len(seeds)} seeds"
    return _step(found, (), action, values)


def _beyond_edges(found: SweepAnalysis, evidence: Evidence) -> Step:
    """One command for all edges, with the other values of the tied configurations only."""
    reasons = tuple(map(edge_sentence, evidence.edges))
    ends = "this end" if len(reasons) == 1 else "these ends"
    if found.sweep.searched:
        command = found.sweep.command
        for edge in evidence.edges:
            command = edge_command(command, edge)
        return Step(reasons, f"search beyond {ends}", None, command)
    tied = evidence.configurations[evidence.configurations["group"] != "other"]
    values: dict[str, list[Any]] = {name: _values(tied, name) for name in evidence.swept}
    values |= {edge.name: [edge.value, *edge.further] for edge in evidence.edges}
    return _step(found, reasons, f"try values beyond {ends}", values)


def _step(
    found: SweepAnalysis, reasons: tuple[str, ...], action: str, values: Mapping[str, list[Any]]
) -> Step:
    command = found.sweep.command
    for name, some in values.items():
        command = override(command, name, ",".join(map(show, some)))
    seeds = 1 if "seed" in values else found.jobs["seed"].nunique()
    return Step(reasons, action, math.prod(map(len, values.values())) * seeds, command)


def _values(tied: pd.DataFrame, name: str) -> list[Any]:
    return sorted(set(tied[name]), key=lambda value: (isinstance(value, str), value))


def _more_seeds(seeds: Sequence[int]) -> list[int]:
    """The seeds of a sweep and twice as many in total, at least three."""
    new = (seed for seed in itertools.count() if seed not in seeds)
    return sorted([*seeds, *itertools.islice(new, max(3 - len(seeds), len(seeds)))])


def edge_command(command: str, edge: Edge) -> str:
    """The command of the sweep with the values beyond an edge."""
    if edge.wider is None:
        return extend(command, edge.name, [edge.value, *edge.further])
    return override(command, edge.name, _interval_text(edge.name, edge.wider))


def _interval_text(name: str, interval: Interval) -> str:
    """An interval in Hydra's syntax."""
    text = f"interval({short(interval.low)},{short(interval.high)})"
    text = f"int({text})" if HYPERPARAMETERS[name].type is int else text
    return f"tag(log,{text})" if interval.log else text
