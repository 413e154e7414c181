"""Suggestions for the next sweep: values beyond the edges, or more seeds."""

from __future__ import annotations

from pipeline.analysis.edges import Edge, Interval
from pipeline.analysis.result import Evidence, SweepAnalysis
from pipeline.config import short
from pipeline.hyperparameters import HYPERPARAMETERS
from pipeline.report.commands import extend, override
from pipeline.report.formatting import show


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


def next_command(found: SweepAnalysis, evidence: Evidence) -> str | None:
    """The command that goes beyond the edges, or repeats the tied configurations with seeds."""
    if evidence.edges:
        command = found.sweep.command
        for edge in evidence.edges:
            command = edge_command(command, edge)
        return command
    tied = evidence.configurations[evidence.configurations["group"] != "other"]
    if found.sweep.searched or len(tied) < 2 or evidence.estimate.num_seeds > 1:
        return None
    command = found.sweep.command
    for name in evidence.swept:
        values = sorted(set(tied[name]), key=lambda value: (isinstance(value, str), value))
        command = override(command, name, ",".join(map(show, values)))
    return override(command, "seed", "0,1,2")


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
