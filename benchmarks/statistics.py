"""python -m benchmarks.statistics [--repeats N]: error rates of the report's statistics.

Simulates sweeps whose true accuracies are known, analyses them, and writes a table of coverage,
bias and error rates to docs/statistics.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

from benchmarks import ensembles
from benchmarks.simulation import Hits, of_seeds, simulate, simulate_halving, sweep
from pipeline.analysis.comparison import compare_selected
from pipeline.analysis.confidence import confidence_set
from pipeline.analysis.correction import correct_selection
from pipeline.analysis.intervals import wilson
from pipeline.analysis.paired import mcnemar

DOCUMENT = Path(__file__).parent.parent / "docs" / "statistics.md"
RESAMPLES = 200  # of the bootstrap in each repeat; the report uses more


@dataclass(frozen=True)
class Setting:
    """One kind of sweep."""

    name: str
    models: int  # configurations
    low: float  # true accuracies are drawn evenly from low to high
    high: float
    images: int
    seeds: int = 1
    luck: float = 0.0  # see `of_seeds`
    correlation: float = 0.5
    unequal: bool = False  # whether each configuration lacks up to two of its seeds
    gain: float | None = None  # halving at one rung, after which accuracies rise by this much


SETTINGS = (
    Setting("1 model", 1, 0.97, 0.97, 359),
    Setting("2 equal models", 2, 0.97, 0.97, 359),
    Setting("64 equal models", 64, 0.97, 0.97, 359),
    Setting("64 models, 93 to 97.5 %", 64, 0.93, 0.975, 359),
    Setting("200 equal models", 200, 0.95, 0.95, 1000),
    Setting("64 equal models, correlation 0.95", 64, 0.97, 0.97, 359, correlation=0.95),
    Setting("64 equal models, independent", 64, 0.9, 0.9, 1000, correlation=0.0),
    Setting("1 configuration, 2 seeds", 1, 0.95, 0.95, 1000, seeds=2, luck=0.1),
    Setting("1 configuration, 3 seeds", 1, 0.95, 0.95, 1000, seeds=3, luck=0.1),
    Setting("2 equal configurations, 2 seeds", 2, 0.95, 0.95, 1000, seeds=2, luck=0.1),
    Setting("8 equal configurations, 2 seeds", 8, 0.95, 0.95, 1000, seeds=2, luck=0.1),
    Setting("8 equal configurations, 3 seeds", 8, 0.95, 0.95, 1000, seeds=3, luck=0.1),
    Setting("20 configurations, 93 to 96 %, 3 seeds", 20, 0.93, 0.96, 1000, seeds=3, luck=0.1),
    Setting("8 equal configurations, 1 to 3 seeds", 8, 0.95, 0.95, 1000, 3, 0.1, unequal=True),
    Setting("8 equal, 1 to 3 seeds of large effect", 8, 0.95, 0.95, 1000, 3, 0.3, unequal=True),
    Setting("64 equal models, halved once", 64, 0.95, 0.95, 1000, gain=0.03),
    Setting("64 models, 93 to 96 %, halved once", 64, 0.93, 0.96, 1000, gain=0.03),
)


class Repeat(NamedTuple):
    """One simulated sweep, compared with the truth."""

    raw_error: float  # raw accuracy of the chosen configuration − its true accuracy
    error: float  # corrected accuracy − true accuracy
    raw_covered: bool  # whether Wilson's interval of the raw accuracy covers the true one
    covered: bool  # whether the reported interval does
    excluded: bool  # whether the confidence set lacks a configuration that is truly the best
    replaced: bool  # whether the chosen model replaces a champion that is as good as the best one
    naively_replaced: bool  # the same with McNemar's test, which ignores the selection


def repeat(setting: Setting, number: int) -> Repeat:
    """Simulate and analyse one sweep."""
    random = np.random.default_rng([number, setting.images, setting.models, setting.seeds])
    truth = np.linspace(setting.low, setting.high, setting.models)
    # The champion is one more model, as good as the best one, on the same images.
    accuracies = of_seeds(random, list(truth), setting.seeds, setting.luck)
    accuracies = np.append(accuracies, accuracies.max())
    if setting.gain is not None:
        early, late = simulate_halving(random, list(accuracies), setting.images, setting.gain)
        models, hits = _halve(early[:-1], late[:-1])
        champion = late[-1]
    else:
        correlation = setting.correlation
        drawn = simulate(random, list(accuracies), setting.images, correlation=correlation)
        drawn, champion = drawn[:-1], drawn[-1]
        models, hits = _ranked(sweep(drawn, setting.seeds), drawn, random, setting.unequal)
    chosen = int(models["configuration"].iloc[0])
    finished = (models["gain"] == 0).to_numpy()
    members = confidence_set(models[finished].reset_index(drop=True), hits[finished]).members
    best = set(np.flatnonzero(truth == truth.max())) & set(models["configuration"][finished])
    found = correct_selection(models, hits, RESAMPLES, number)
    own = hits[: (models["configuration"] == chosen).sum()]
    model = int(own.mean(axis=1).argmax())
    low, high = wilson(round(found.raw * setting.images), setting.images)
    naive = mcnemar(own[model], champion[None])[0]
    return Repeat(
        raw_error=found.raw - truth[chosen],
        error=found.corrected - truth[chosen],
        raw_covered=low <= truth[chosen] <= high,
        covered=found.low <= truth[chosen] <= found.high,
        excluded=not best <= set(members),
        replaced=compare_selected(champion, hits, model, RESAMPLES, number).is_better,
        naively_replaced=naive.p_value <= 0.05 and naive.difference > 0,
    )


def _ranked(
    models: pd.DataFrame, hits: Hits, random: np.random.Generator, unequal: bool
) -> tuple[pd.DataFrame, Hits]:
    """The models in the order that `correct_selection` expects."""
    if unequal:
        kept = models["seed"] < random.integers(1, 4, len(models))[models["configuration"]]
        models, hits = models[kept].reset_index(drop=True), hits[kept]
    means = models.groupby("configuration")["best_val_acc"].transform("mean")
    first = models["configuration"] == models["configuration"][means.idxmax()]
    order = np.argsort(~first, kind="stable")
    return models.assign(gain=0.0).loc[order].reset_index(drop=True), hits[order]


def _halve(early: Hits, late: Hits) -> tuple[pd.DataFrame, Hits]:
    """The better half at a rung finishes; the others keep their predictions at the rung."""
    order = np.argsort(-early.mean(axis=1), kind="stable")
    finalists, halted = order[: len(order) // 2], order[len(order) // 2 :]
    best = finalists[late[finalists].mean(axis=1).argmax()]
    finalists = np.array([best, *finalists[finalists != best]])
    gain = float(late[finalists].mean() - early[finalists].mean())
    hits = np.concatenate([late[finalists], early[halted]])
    models = sweep(hits).assign(configuration=np.concatenate([finalists, halted]), gain=0.0)
    models.loc[len(finalists) :, "gain"] = max(gain, 1e-9)
    return models, hits


def run(setting: Setting | ensembles.Setting, repeats: int) -> NDArray[np.float64]:
    """All repeats of a setting: (repeats, fields of its `Repeat`)."""
    if isinstance(setting, ensembles.Setting):
        return ensembles.run(setting, repeats)
    with threadpool_limits(1):
        return np.array([repeat(setting, number) for number in range(repeats)], float)


def table(results: Sequence[NDArray[np.float64]]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| sweep | images | bias, raw | bias, corrected | coverage, raw Wilson | coverage, report "
        "| best one excluded | champion replaced, McNemar | champion replaced, report |",
        "|" + " --- |" * 9,
    ]
    for setting, found in zip(SETTINGS, results, strict=True):
        raw, error, raw_covered, covered, excluded, replaced, naive = found.mean(axis=0)
        cells = [f"{100 * raw:+.2f}", f"{100 * error:+.2f}"]
        rates = (raw_covered, covered, excluded, naive, replaced)
        cells += [f"{100 * rate:.1f} %" for rate in rates]
        lines.append(f"| {setting.name} | {setting.images:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run all settings, one process each, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with ProcessPoolExecutor(options.processes) as pool:
        kinds = (*SETTINGS, *ensembles.SETTINGS)
        results = list(pool.map(run, kinds, [options.repeats] * len(kinds)))
    limit = binomtest(round(0.95 * options.repeats), options.repeats).proportion_ci().low
    text = (Path(__file__).parent / "statistics.md").read_text(encoding="utf-8")
    text = text.replace("{table}", table(results[: len(SETTINGS)]))
    text = text.replace("{ensembles}", ensembles.table(results[len(SETTINGS) :]))
    text = text.replace("{fresh}", f"{ensembles.FRESH:,}")
    text = text.replace("{repeats}", f"{options.repeats:,}")
    DOCUMENT.write_text(text.replace("{limit}", f"{100 * limit:.1f} %"), encoding="utf-8")


if __name__ == "__main__":
    main()
