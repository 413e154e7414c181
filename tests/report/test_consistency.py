"""The headline, tables, charts and JSON of a report agree, for sweeps of every shape."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import numpy as np
import optuna
import pandas as pd
import pytest

from pipeline.config import DataConfig, Halving
from pipeline.paths import ROOT
from pipeline.report.formatting import markdown_text, percent, show
from pipeline.report.labels import label, symbol
from pipeline.report.write import write_report
from pipeline.search.sampling import Search
from pipeline.search.space import bounds
from pipeline.search.study import Study, TrialResult
from pipeline.tracking import queries
from pipeline.tracking.store import Store
from tests.sweeps import train_sweep

SCHEMA = json.loads((ROOT / "pipeline" / "report" / "report.schema.json").read_text())
FAST = {"num_epochs": 2, "batch_size": 20, "hidden_size": 4}
SPACE: dict[str, optuna.distributions.BaseDistribution] = {
    "learning_rate": optuna.distributions.FloatDistribution(1e-3, 1.0, log=True),
    "hidden_size": optuna.distributions.IntDistribution(2, 8),
}
Jobs = list[dict[str, Any]]


def grid(**values: tuple[Any, ...]) -> Jobs:
    return [dict(zip(values, place, strict=True)) for place in product(*values.values())]


def trials() -> Jobs:
    """The values of 24 trials of a TPE search."""
    study = Study(Search(SPACE, {}, "tpe", 0, 24, 8), "consistency", None)
    jobs: Jobs = []
    while batch := study.next_trials(len(jobs)):
        for trial in batch:
            jobs.append(dict(trial.params))
            study.tell(trial, TrialResult(-abs(np.log10(trial.params["learning_rate"]) + 1)))
    return jobs


SEVEN_VALUES = grid(
    **{"hidden_size": (4, 6), "learning_rate": (0.1, 0.3), "l2_reg": (0.0, 1e-3)},
    **{"momentum": (0.0, 0.9), "dropout": (0.0, 0.5), "batch_size": (20, 30)},
    dtype=("float32", "float64"),
)
SWEEPS: dict[str, Jobs] = {
    "one job": [{}],
    "two jobs": grid(learning_rate=(0.01, 0.3)),
    "all equal": grid(l2_reg=(1e-12, 2e-12, 3e-12, 4e-12)),
    "all diverged": grid(learning_rate=(1e9, 1e10)),
    "one value per axis": grid(learning_rate=(0.3,), l2_reg=(1e-4,), seed=(0, 1)),
    "seven values": SEVEN_VALUES[::11],
    "three seeds": grid(learning_rate=(0.01, 0.03, 0.1, 0.3), l2_reg=(0.0, 0.1), seed=(0, 1, 2)),
    "halving": grid(learning_rate=(0.01, 0.03, 0.1, 0.3), momentum=(0.0, 0.5)),
    "search": [],  # `trials`
    "two datasets": [],
    "lost seed": grid(learning_rate=(0.03, 0.3), seed=(0, 1)),
}


class Page(HTMLParser):
    """What a page states: its answer, its tables by class, its charts, and its command."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.answer: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.charts: list[str] = []
        self.command: list[str] = []
        self.text = ""
        self._rows: list[list[str]] = []
        self._texts: list[str] | None = None  # the last one receives the text
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "table":
            self._rows = self.tables.setdefault((found.get("class") or "").split()[-1], [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._texts = self._rows[-1]
        elif tag == "h1" or found.get("class") == "answer":
            self._texts = self.answer
        elif tag == "code":
            self._texts = self.command
        else:
            if found.get("role") == "img":
                self.charts.append(found.get("aria-label") or "")
            return
        if self._texts is not None and tag not in ("table", "tr"):
            self._texts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "h1", "p", "code"):
            self._texts = None

    def handle_data(self, data: str) -> None:
        self.text += " ".join(data.split()) + " "
        if self._texts:
            self._texts[-1] += data


class Written(NamedTuple):
    """The four formats of a report."""

    facts: dict[str, Any]
    page: Page
    markdown: str
    runs: pd.DataFrame
    configurations: pd.DataFrame | None


def points(folder: Path, name: str, seed: int) -> DataConfig:
    """A dataset of 300 points in three overlapping classes."""
    random = np.random.default_rng(seed)
    y = np.repeat(["low", "middle", "high"], 100)
    X = random.normal(size=(300, 5)) + np.repeat([-1.0, 0.0, 1.0], 100)[:, None]
    np.savez(folder / f"{name}.npz", X=X, y=y)
    return DataConfig(name=name, kind="npz", file=str(folder / f"{name}.npz"))


@pytest.fixture(scope="module", params=list(SWEEPS))
def written(
    request: pytest.FixtureRequest, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Written:
    name, folder = request.param, tmp_path_factory.mktemp("consistency")
    data = points(folder, "points", 0)
    jobs = trials() if name == "search" else SWEEPS[name]
    if name == "two datasets":
        jobs = [{"data": asdict(points(folder, f"points{seed}", seed))} for seed in (1, 2)]
    halving = Halving(2, 1) if name == "halving" else None
    epochs = {"num_epochs": 4} if halving else {}
    all_jobs = [FAST | epochs | job for job in jobs]
    sweep = train_sweep(store, folder, name, *all_jobs, data=data, halving=halving)
    if name == "search":
        store.log_search_space(sweep, bounds(SPACE))
    if name == "lost seed":  # one run of the configuration that would be chosen
        runs = queries.sweep_runs(store, sweep)
        best = runs.loc[runs["metrics.best_val_acc"].idxmax(), "run_id"]
        store.client.set_tag(best, "outcome", "diverged")
        store.client.set_tag(best, "diverged_epoch", "1")
    report = write_report(store, queries.find_sweep(store, name), folder / "reports")
    table = report.folder / "configurations.csv"
    return Written(
        json.loads((report.folder / "report.json").read_text()),
        Page((report.folder / "report.html").read_text()),
        (report.folder / "report.md").read_text(),
        pd.read_csv(report.folder / "report.csv"),
        pd.read_csv(table) if table.exists() else None,
    )


def test_json_follows_the_schema(written: Written) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(written.facts)
    for run in written.facts["runs"]:
        assert isinstance(run["flip"], bool)


def test_headline_is_the_choice_of_every_format(written: Written) -> None:
    facts, lines = written.facts, written.page.answer
    for line in lines:
        assert f"**{markdown_text(line)}**" in written.markdown
    best = facts["best"]
    if best is None:
        assert {run["outcome"] for run in facts["runs"]} == {"diverged"}
        assert lines == [facts["problem"]]
        return
    first = facts["runs"][0]
    assert (first["run_id"], first["rank"]) == (best["run_id"], 1)
    assert written.runs["run_id"].iloc[0] == best["run_id"]
    values = re.findall(r"(\S+)=([^,]+)", lines[0])
    by_symbol = {symbol(key): show(value) for key, value in best["values"].items()}
    assert values and all(by_symbol[key] == text for key, text in values)
    assert {key: best["config"][key] for key in ("hidden_size", "flip", "seed")} == {
        key: best["values"][key] for key in ("hidden_size", "flip", "seed")
    }
    accuracy = best["val_acc"]
    if facts["evidence"] is not None:
        estimate = facts["evidence"]["estimate"]
        accuracy = estimate["corrected"]
        assert 0 <= estimate["low"] <= accuracy <= estimate["high"] <= 1
    assert lines[1].startswith(f"Validation accuracy: {percent(accuracy)} (")
    assert lines[2].startswith(f"Test accuracy: {percent(best['test_acc'])} (")
    assert f"{best['num_test']} examples" in lines[2]
    row = written.page.tables["finished"][1]
    assert row[-1] == best["name"]
    assert percent(best["val_acc"]) in row


def test_every_table_states_the_same_confidence_set(written: Written) -> None:
    evidence, page = written.facts["evidence"], written.page
    if evidence is None:
        assert written.configurations is None
        assert "compared" not in page.tables
        return
    rows, best = evidence["configurations"], written.facts["best"]
    assert [row["group"] for row in rows].count("chosen") == 1
    assert rows[0]["group"] == "chosen"
    assert rows[0]["values"] == {key: best["values"][key] for key in evidence["swept"]}
    assert rows[0]["mean"] == pytest.approx(evidence["estimate"]["raw"])
    tied = sum(row["group"] == "tied" for row in rows)
    assert tied == evidence["num_tied"] == sum(not row["worse"] for row in rows) - 1
    assert written.configurations is not None
    assert written.configurations["group"].tolist() == [row["group"] for row in rows]
    if len(rows) == 1:
        assert "compared" not in page.tables
        return
    _, *shown, baseline = page.tables["compared"]
    assert baseline[0].startswith("baseline: always ")
    assert [row[0] for row in shown] == [label(row["values"], evidence["swept"]) for row in rows]
    answer = {"chosen": "chosen", "tied": "yes", "other": "no"}
    assert [row[-1] for row in shown] == [answer[row["group"]] for row in rows]
    for text in shown:
        assert f"| {' | '.join(map(markdown_text, text))} |" in written.markdown
    others = len(rows) - 1
    halted = evidence["estimate"]["num_candidates"] - len(rows)
    kind = "finished configuration" if halted else "configuration"
    expected = f"{tied} of the other {others} {kind}s cannot be distinguished from the best one"
    if others == 1:
        what = "cannot be distinguished from the best one" if tied else "is significantly worse"
        expected = f"The other {kind} {what}"
    elif tied == others:
        expected = f"None of the other {others} {kind}s can be distinguished from the best one"
    elif not tied:
        expected = f"All other {others} {kind}s are significantly worse"
    if halted:
        expected += f"; {halted} {'was' if halted == 1 else 'were'} halted and not compared"
    assert page.answer[3] == expected


def test_every_format_counts_the_same_jobs(written: Written) -> None:
    facts = written.facts
    counts = {outcome: n for outcome, n in facts["outcomes"].items() if n}
    assert sum(counts.values()) == len(facts["runs"]) == len(written.runs) == facts["num_planned"]
    assert written.runs["outcome"].value_counts().to_dict() == counts
    for outcome, n in counts.items():
        assert len(written.page.tables[outcome]) == n + 1  # with its header
        assert f"## {outcome.capitalize()} jobs" in written.markdown
    assert facts["resources"]["multiply_adds"] > 0
    assert facts["started"] <= facts["ended"]


def test_charts_show_the_configurations_of_the_tables(written: Written) -> None:
    evidence, charts = written.facts["evidence"], written.page.charts
    if evidence is None or len(evidence["configurations"]) == 1:
        return
    counts = [int(n) for text in charts for n in re.findall(r"of (\d+) configurations", text)]
    assert counts or len(evidence["swept"]) == 1
    assert set(counts) <= {len(evidence["configurations"])}


def test_captions_state_only_what_holds_for_the_sweep(written: Written) -> None:
    facts, text = written.facts, written.page.text
    evidence, runs = facts["evidence"], written.runs
    swept = evidence["swept"] if evidence else []
    assert ("Hyperparameter importance" in text) == (len(swept) > 1)
    assert ("Importance" in written.markdown) == (len(swept) > 1)
    has_grid = "over the grid" in text
    assert ("Darker is better" in text) == (has_grid and facts["best"] is not None)
    assert ("No job has a result. Each cell shows how its jobs ended." in text) == (
        facts["best"] is None
    )
    seeds = runs["seed"].nunique() > 1
    assert ("mean over its seeds." in text) == (has_grid and seeds)
    assert ("Some jobs were halted" in text) == (has_grid and "halted" in set(runs["outcome"]))
    finished = runs.loc[runs["outcome"] == "finished", "configuration"].nunique()
    if finished < 2:
        assert "The number before a model is its rank" not in text
        assert "Table of all configurations" not in text
    datasets = runs["dataset_digest"].nunique()
    assert written.markdown.count("- Data: ") == datasets


def test_next_step_is_one_command(written: Written) -> None:
    step = written.facts["next_step"]
    assert written.page.command == ([step["command"]] if step else [])
    if step is None:
        return
    assert f"{markdown_text(step['command'])}" in written.markdown
    if step["num_jobs"] is not None:
        lists = re.findall(r"\w+=(\S*,\S*)", step["command"])
        seeds = 1 if "seed=" in step["command"] else written.runs["seed"].nunique()
        assert step["num_jobs"] == np.prod([len(texts.split(",")) for texts in lists]) * seeds


def test_configuration_that_lost_a_seed_is_listed_apart(written: Written) -> None:
    if written.facts["sweep"] != "lost seed":
        assert written.facts["evidence"] is None or not written.facts["evidence"]["num_incomplete"]
        return
    assert written.facts["evidence"]["num_incomplete"] == 1
    lost = next(run for run in written.facts["runs"] if run["outcome"] == "diverged")
    assert lost["configuration"] != written.facts["evidence"]["configurations"][0]["configuration"]
    assert "Configurations that lost a seed: 1. " in written.markdown


def test_report_states_why_the_interval_over_few_seeds_is_wide(written: Written) -> None:
    evidence = written.facts["evidence"]
    sizes = [row["n"] for row in evidence["configurations"]] if evidence else [1]
    few = max(sizes) > 1 and sum(sizes) - len(sizes) < 3
    wide = "So few seeds say little about the variation over seeds." in written.markdown
    assert wide == (few and evidence["estimate"]["num_seeds"] > 1)
