"""The results of all parts, and the targets that they are compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.jobs import MANY_JOBS
from benchmarks.measure import Mode, results_dir

PARTS = ("step", "cores", "sweep-digits", "sweep-cifar10", "jobs", "memory")
STEP_GROUPS = {
    "this trainer": ("population",),
    "matrix-multiply floor": ("floor",),
    "naive NumPy loop": ("naive",),
    "PyTorch, one model after another": ("pytorch",),
    "PyTorch, batched": ("pytorch_bmm", "pytorch_vmap"),
    "ParallelMLPs": ("parallel_mlps",),
    "jax.vmap": ("jax_vmap",),
    "scikit-learn": ("scikit_learn",),
}
SWEEP_GROUPS = {
    "this project": ("population",),
    "this project, hydra/launcher=basic": ("basic",),
    "Optuna + PyTorch + MLflow": ("optuna, 1 at a time", "optuna, 2 at a time"),
    "Ray Tune + PyTorch": ("ray tune",),
    "scikit-learn's GridSearchCV": ("scikit-learn",),
}


@dataclass(frozen=True)
class Timing:
    """The measurements of one contender."""

    variant: str
    seconds: Sequence[float]
    notes: Mapping[str, Any]

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles."""
        low, high = np.percentile(self.seconds, [25, 75])
        return float(low), float(high)


@dataclass(frozen=True)
class Target:
    """A goal, and the measured value."""

    what: str  # the measured quantity
    goal: str
    value: str
    met: bool


def load(mode: Mode) -> dict[str, Any]:
    """The results of the parts that have been measured."""
    paths = {part: results_dir(mode) / f"{part}.json" for part in PARTS}
    return {part: json.loads(path.read_text()) for part, path in paths.items() if path.exists()}


def timing(variant: str, samples: Mapping[str, Any]) -> Timing | None:
    """The measurements of a contender, or None if a repeat failed."""
    if samples["failures"] or not samples["seconds"]:
        return None
    return Timing(variant, samples["seconds"], samples["notes"])


def step_timings(part: Mapping[str, Any], D: str) -> dict[str, Timing]:
    """The best variant of each contender at D features."""
    return _best_of(
        {
            group: [name for name in part["sizes"][D] if name.partition(",")[0] in makers]
            for group, makers in STEP_GROUPS.items()
        },
        part["sizes"][D],
    )


def sweep_timings(part: Mapping[str, Any]) -> dict[str, Timing]:
    """The best variant of each contender in a sweep."""
    return _best_of(SWEEP_GROUPS, part["contenders"])


def _best_of(groups: Mapping[str, Sequence[str]], samples: Mapping[str, Any]) -> dict[str, Timing]:
    best = {}
    for group, names in groups.items():
        measured = [timing(name, samples[name]) for name in names if name in samples]
        timings = [each for each in measured if each is not None]
        if timings:
            best[group] = min(timings, key=lambda t: t.median)
    return best


def job_timings(part: Mapping[str, Any], way: str) -> dict[int, Timing]:
    """The times of whole sweeps, by their number of tiny jobs."""
    found = {int(jobs): timing(way, samples) for jobs, samples in part["ways"][way].items()}
    return {jobs: each for jobs, each in found.items() if each is not None}


def cost_per_job(timings: Mapping[int, Timing], jobs: int) -> float:
    """The seconds of one more job: (time of n jobs − time of the fewest) / the difference.

    If this number of jobs was not measured, its time is extrapolated by the slope between the two
    largest numbers.
    """
    fewest = min(timings)
    if jobs in timings:
        whole = timings[jobs].median
    else:
        below, most = sorted(timings)[-2:]
        slope = (timings[most].median - timings[below].median) / (most - below)
        whole = timings[most].median + slope * (jobs - most)
    return (whole - timings[fewest].median) / (jobs - fewest)


def cores_medians(part: Mapping[str, Any]) -> dict[str, float]:
    """The median seconds of a step in each case of `benchmarks.cores`."""
    return {name: float(np.median(each["seconds"])) for name, each in part["cases"].items()}


def memory_bound(part: Mapping[str, Any]) -> float:
    """1.3 × (data + 3 × parameters) + 300 MB, in bytes."""
    return 1.3 * (part["data_bytes"] + 3 * part["params_bytes"]) + 300e6


def targets(results: Mapping[str, Any]) -> Iterator[Target]:
    """The targets of the parts that were measured."""
    if "step" in results:
        yield from _step_targets(results["step"])
    if "cores" in results:
        yield from _cores_targets(results["cores"], results["cores"]["machine"]["cores"])
    for name in ("digits", "cifar10"):
        if f"sweep-{name}" in results:
            yield from _sweep_targets(results[f"sweep-{name}"], name)
    if "jobs" in results:
        yield from _job_targets(results["jobs"])
    if "memory" in results:
        part = results["memory"]
        peak, bound = max(part["sweep"]["notes"]["peak_bytes"]), memory_bound(part)
        goal = "at most 1.3 × (data + 3 × parameters) + 300 MB"
        share = f"{peak / 1e6:,.0f} of {bound / 1e6:,.0f} MB"
        yield Target("peak memory of a CIFAR-10 sweep", goal, share, peak <= bound)


def _at_least(what: str, goal: float, value: float) -> Target:
    return Target(what, f"at least {goal:g}", f"{value:.2f}", value >= goal)


def _at_most(what: str, goal: float, value: float) -> Target:
    return Target(what, f"at most {goal:g}", f"{value:.3f}", value <= goal)


FLOOR_GOALS = {"3072": 0.9, "784": 0.92, "64": 0.7}
PEER_GOALS = {  # D: contender: its time ÷ the time of this trainer
    "3072": {
        "naive NumPy loop": 1.8,
        "PyTorch, one model after another": 2,
        "PyTorch, batched": 2,
        "scikit-learn": 3,
    },
    "64": {
        "naive NumPy loop": 3.5,
        "PyTorch, one model after another": 6,
        "PyTorch, batched": 6,
        "scikit-learn": 20,
    },
}


def _step_targets(part: Mapping[str, Any]) -> Iterator[Target]:
    for D, floor_goal in FLOOR_GOALS.items():
        if D not in part["sizes"]:
            continue
        timings = step_timings(part, D)
        if (ours := timings.get("this trainer")) is None:
            continue
        if (floor := timings.get("matrix-multiply floor")) is not None:
            share = floor.median / ours.median
            yield _at_least(f"step at D = {D}: floor ÷ this trainer", floor_goal, share)
        for group, goal in PEER_GOALS.get(D, {}).items():
            if group in timings:
                ratio = timings[group].median / ours.median
                yield _at_least(f"step at D = {D}: {group} ÷ this trainer", goal, ratio)


def _cores_targets(part: Mapping[str, Any], cores: int) -> Iterator[Target]:
    median = cores_medians(part)
    if cores > 1:
        speedup = median["wide, 1 thread"] / median["wide, all cores"]
        yield _at_least("one model of H = 1024: 1 core ÷ all cores", 0.8 * min(cores, 2), speedup)
    ideal = 3 / min(cores, 3) * median["one of three, 1 thread"]
    ratio = median["three, all cores"] / ideal
    yield _at_most("3 models of H = 512 on all cores ÷ 3 times one, shared evenly", 1.1, ratio)
    ratio = median["plain SGD"] / median["momentum"]
    yield _at_least("images per second with momentum ÷ without", 0.9, ratio)


def _sweep_targets(part: Mapping[str, Any], name: str) -> Iterator[Target]:
    basic_goal, peer_goal = {"digits": (2.5, 1.0), "cifar10": (1.7, 2.0)}[name]
    timings = sweep_timings(part)
    ours = timings.pop("this project", None)
    if ours is None:
        return
    for group, each in timings.items():
        goal = basic_goal if group.endswith("basic") else peer_goal
        yield _at_least(f"sweep on {name}: {group} ÷ this project", goal, each.median / ours.median)
    phases = part["contenders"]["population, timed"]["notes"].get("phases")
    if name == "cifar10" and phases:
        share = float(np.median([p["tracking"] / p["whole"] for p in phases]))
        yield _at_most(f"sweep on {name}: tracking ÷ whole", 0.05, share)


def _job_targets(part: Mapping[str, Any]) -> Iterator[Target]:
    ours, stock = job_timings(part, "population"), job_timings(part, "stock")
    if (many := ours.pop(MANY_JOBS, None)) is not None:
        yield _at_most(f"{MANY_JOBS:,} jobs, in s", 180, many.median)
        peak = max(many.notes["peak_bytes"]) / 1e6
        yield _at_most(f"peak memory of {MANY_JOBS:,} jobs, in MB", 1000, peak)
    most = max(ours, default=0)
    if len(ours) > 1:
        cost = 1000 * cost_per_job(ours, most)
        yield _at_most(f"cost of a job at {most:,} jobs, in ms", 15, cost)
    if len(ours) > 1 and len(stock) > 1:
        ratio = cost_per_job(ours, most) / cost_per_job(stock, most)
        how = "" if most in stock else " (extrapolated)"
        yield _at_most(f"cost of a job at {most:,} jobs ÷ the stock way's{how}", 0.25, ratio)
    for jobs in sorted(ours):
        if 2 * jobs in ours and jobs >= most / 4:
            ratio = ours[2 * jobs].median / ours[jobs].median
            yield _at_most(f"time of {2 * jobs:,} jobs ÷ time of {jobs:,}", 2.2, ratio)
