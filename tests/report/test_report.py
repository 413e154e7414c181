"""The report: the choice, how sure it is, and the same facts in every format."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline.analysis import evaluation
from pipeline.analysis.heatmap import GRID
from pipeline.config import DataConfig
from pipeline.data.load import load_test
from pipeline.nn.model import Params, predict
from pipeline.paths import ROOT
from pipeline.report import load
from pipeline.report.__main__ import main
from pipeline.report.formatting import percent, points, show
from pipeline.report.write import Report, ReportError, write_report
from pipeline.tracking import queries
from pipeline.tracking.entities import Point, Sweep
from pipeline.tracking.store import Store
from tests.conftest import DIGITS
from tests.sweeps import MARKUP, train_sweep


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return Store(f"sqlite:///{folder}/mlflow.db")


@pytest.fixture(scope="module")
def swept(store: Store, folder: Path) -> Sweep:
    """Four models that finish, one that diverges, one that cannot be."""
    grid = [{"hidden_size": H, "learning_rate": lr} for H in (8, 16) for lr in (0.03, 1.0)]
    return train_sweep(store, folder, "s1", *grid, {"learning_rate": 1e9}, {"hidden_size": MARKUP})


@pytest.fixture(scope="module")
def written(store: Store, swept: Sweep, folder: Path) -> Report:
    return write_report(store, queries.find_sweep(store, swept.name), folder / "reports")


@pytest.fixture(scope="module")
def facts(written: Report) -> dict[str, Any]:
    text = (written.folder / "report.json").read_text()
    found: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return found


class Page(HTMLParser):
    """What a page holds, as a browser reads it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(written: Report) -> Page:
    return Page((written.folder / "report.html").read_text())


def test_json_names_the_best_model_with_its_interval(
    facts: dict[str, Any], store: Store, swept: Sweep
) -> None:
    runs = queries.sweep_runs(store, swept)
    finished = runs[runs["tags.outcome"] == "finished"]
    best = facts["best"]
    expected = finished.loc[finished["metrics.best_val_acc"].idxmax()]
    assert best["run_id"] == expected["run_id"]
    assert best["val_acc"] == expected["metrics.best_val_acc"]
    assert [best["values"][key] for key in GRID] == [16, 1e-4, 1.0]
    assert best["values"]["flip"] is False
    low, high = best["val_acc_ci95"]
    assert 0.6 < low < best["val_acc"] < high < 1
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.9 * 0.1 / 359), rel=0.3)
    assert (facts["dataset"], facts["num_train"], facts["num_val"]) == ("digits", 1079, 359)
    assert facts["sweep"] == "s1"
    assert facts["command"].startswith("python -m pipeline -m ")
    assert facts["shared"]["num_epochs"] == 3


def test_json_lists_every_run_and_separately_diverged_and_failed_ones(
    facts: dict[str, Any],
) -> None:
    assert [run["outcome"] for run in facts["runs"][:4]] == ["finished"] * 4
    accuracies = [run["best_val_acc"] for run in facts["runs"][:4]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert sorted(run["job"] for run in facts["runs"]) == list(range(6))
    (diverged,) = facts["diverged"]
    assert (diverged["job"], diverged["learning_rate"], diverged["epoch"]) == (4, 1e9, 1)
    (failed,) = facts["failed"]
    assert failed["hidden_size"] == MARKUP
    assert "hidden_size must be a whole number" in failed["error"]
    assert facts["unfinished"] == []


def test_test_accuracy_is_the_one_of_the_stored_weights(
    facts: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    path = store.artifacts.download(facts["best"]["run_id"], "weights.npz", tmp_path)
    with np.load(path, allow_pickle=False) as file:
        W1, b1, W2, b2 = (file[name] for name in ("W1", "b1", "W2", "b2"))
    X, y = load_test(DIGITS, "float32")
    params = Params(W1[None], b1[None, None], W2[None], b2[None, None])
    assert facts["best"]["test_acc"] == (predict(params, X)[0] == y).mean()


def test_csv_and_markdown_agree_with_json(written: Report, facts: dict[str, Any]) -> None:
    table = pd.read_csv(written.folder / "report.csv")
    assert list(table.columns) == list(facts["runs"][0])
    for row, run in zip(table.to_dict("records"), facts["runs"], strict=True):
        for key in ("run_id", "best_val_acc", "train_loss", "error", "test_acc"):
            # Pandas before version 3 may read a number with another last bit.
            is_number = isinstance(run[key], float)
            expected = pytest.approx(run[key], rel=1e-15) if is_number else run[key]
            assert row[key] == expected or (pd.isna(row[key]) and run[key] is None)
    text = (written.folder / "report.md").read_text()
    best = facts["best"]
    estimate = facts["evidence"]["estimate"]
    assert f"**Validation accuracy: {percent(estimate['corrected'])} (95 % interval" in text
    assert f"{percent(best['val_acc'])} measured on 359 examples" in text
    assert f"| 1 | 16 | 1e-4 | 1 | {percent(best['val_acc'])} | {best['val_loss']:.4f} |" in text
    for heading in ("Finished", "Diverged", "Failed"):
        assert f"\n## {heading} jobs\n" in text
    measured = facts["diagnostics"]
    for name, counts in zip(measured["classes"], measured["confusion"], strict=True):
        assert f"| {name} | {' | '.join(map(str, counts))} |" in text
    assert f"- Dead hidden units: {measured['dead_units'] or 'none'} of 16" in text


def test_every_format_states_which_configurations_could_be_the_best(
    written: Report, facts: dict[str, Any], page: Page
) -> None:
    evidence = facts["evidence"]
    table = pd.read_csv(written.folder / "configurations.csv")
    assert table["group"].tolist() == [row["group"] for row in evidence["configurations"]]
    assert (table["group"] == "tied").sum() == evidence["num_tied"]
    text = (written.folder / "report.md").read_text()
    for row in evidence["configurations"]:
        values = row["values"]
        label = f"H={values['hidden_size']} lr={show(values['learning_rate'])}"
        line = next(line for line in text.splitlines() if line.startswith(f"| {label} |"))
        answer = {"chosen": "chosen", "tied": "yes", "other": "no"}[row["group"]]
        assert line.endswith(f"| {answer} |")
        assert (
            f"| {percent(row['mean'])} | {percent(row['low'])} | {percent(row['high'])} |" in line
        )
        assert points(-row["difference"]) in line or row["group"] == "chosen"
        assert label in page.text


def test_page_opens_with_the_answer(written: Report, page: Page) -> None:
    assert written.best is not None
    lines = [line.strip() for line in page.text.splitlines() if line.strip()]
    start = lines.index("Best model: H=16, λ=1e-4, lr=1")
    assert lines[start + 1].startswith("Validation accuracy: ")
    assert lines[start + 2].startswith(f"Test accuracy: {percent(written.best.test_acc or 0)} (95")


def test_page_loads_no_other_resource(page: Page) -> None:
    assert not {"link", "iframe", "object", "base"} & set(page.tags)
    assert page.tags.count("script") == 1
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href"):
            resources = ("data:image/png;base64,", "#")
            links = "http://127.0.0.1:5000/#/experiments/"  # to MLflow's UI, loaded on a click
            assert (value or "").startswith((*resources, links))
    script = (ROOT / "pipeline" / "report" / "report.js").read_text()
    assert script in page.text
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src"
    assert ("content", f"{policy} 'sha256-{digest}'") in page.attributes


def test_page_is_well_formed_and_its_charts_are_described(page: Page) -> None:
    assert page.open == []
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert page.tags.count("h1") == page.tags.count("main") == 1
    assert (
        page.tags.count("svg") == 8
    )  # 2 marginals, 2 of all configurations, 3 of curves, calibration
    named = [value for name, value in page.attributes if name in ("alt", "aria-label")]
    assert any("16 hidden units" in (value or "") for value in named)
    assert any("Validation loss by epoch" in (value or "") for value in named)


def test_page_shows_every_run(page: Page, facts: dict[str, Any]) -> None:
    for run in facts["runs"]:
        assert run["name"] in page.text
    for run in facts["runs"][:4]:
        assert page.text.count(percent(run["best_val_acc"])) >= 2  # in a heatmap and in the table
    assert "diverged" in page.text
    assert facts["failed"][0]["error"] in page.text


def test_markup_in_runs_is_shown_as_text(written: Report, page: Page) -> None:
    # The sweep's command, a run's value, its error, and a run's name hold it.
    assert page.text.count(MARKUP) >= 4
    assert (written.folder / "report.html").read_text().count("<script") == 1  # its own
    markdown = (written.folder / "report.md").read_text()
    assert MARKUP not in markdown
    assert markdown.count(r"\<script\>alert(1)\</script\>\|\`\*x\*\`") >= 4
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_second_report_has_equal_bytes_and_does_not_read_the_test_split(
    store: Store, written: Report, swept: Sweep, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in written.folder.iterdir()}
    pictures = ["acc.svg", "configurations.svg", "costs.svg", "train_loss.svg", "val_loss.svg"]
    assert sorted(before) == [
        *sorted([*pictures, "configurations.csv"])[:4],
        *(f"report.{kind}" for kind in ("csv", "html", "json", "md")),
        *pictures[3:],
    ]
    monkeypatch.setattr(evaluation, "load_test", lambda *_: pytest.fail("it was read again"))
    assert write_report(store, queries.find_sweep(store, swept.name), folder / "reports") == written
    assert {path.name: path.read_bytes() for path in written.folder.iterdir()} == before
    assert written.best is not None
    history = store.client.get_metric_history(written.best.run_id, "test_acc")
    assert [metric.value for metric in history] == [written.best.test_acc]


def test_report_is_an_artifact_of_the_sweep(
    store: Store, written: Report, swept: Sweep, tmp_path: Path
) -> None:
    for path in written.folder.iterdir():
        copy = store.artifacts.download(swept.run_id, f"report/{path.name}", tmp_path)
        assert copy.read_bytes() == path.read_bytes()


def test_mlflow_shows_the_answer_and_tags_the_chosen_run(
    store: Store, written: Report, swept: Sweep
) -> None:
    note = store.client.get_run(swept.run_id).data.tags["mlflow.note.content"]
    answer, links, known, pictures = note.split("\n\n")
    assert answer.startswith("**Best model: H=16, λ=1e-4, lr=1**")
    assert f"{answer}\n\n{known}" in (written.folder / "report.md").read_text()
    assert f"runs/{written.best and written.best.run_id}" in links
    assert pictures.count(f"run_uuid={swept.run_id}") == 5
    runs = queries.sweep_runs(store, swept)
    assert written.best is not None
    assert list(runs[runs["tags.chosen"] == swept.name]["run_id"]) == [written.best.run_id]


def test_test_split_is_not_read_before_all_jobs_have_ended(
    store: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = train_sweep(store, folder, "cut short", {})
    run_id = store.start_run(sweep.experiment_id, MARKUP, {"job": "1"}, sweep)
    store.end_run(run_id, "KILLED")
    monkeypatch.setattr(evaluation, "load_test", lambda *_: pytest.fail("it was read"))
    report = write_report(store, sweep, tmp_path)
    assert report.best is not None
    assert report.best.test_problem == evaluation.INCOMPLETE
    assert "\n## Unfinished jobs\n" in (report.folder / "report.md").read_text()
    facts = json.loads((report.folder / "report.json").read_text())
    assert [run["name"] for run in facts["unfinished"]] == [MARKUP]
    again = "1 of 2 jobs have no result; to train only these, run the same command again"
    assert f"{again}: {sweep.command}" in facts["notes"]


def test_missing_test_images_are_a_reason_in_the_report(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    sweep = train_sweep(store, folder, "moved", {})
    run_id = queries.sweep_runs(store, sweep)["run_id"].iloc[0]
    config = yaml.safe_load(store.artifacts.download(run_id, "config.yaml", tmp_path).read_text())
    config["data"] |= {"kind": "cifar10", "dir": "/no/such/folder"}
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "config.yaml").write_text(yaml.safe_dump(config))
    store.artifacts.upload(run_id, changed)

    report = write_report(store, queries.find_sweep(store, "moved"), tmp_path)
    assert report.best is not None
    assert report.best.test_acc is None
    assert "/no/such/folder" in (report.best.test_problem or "")
    assert "Test accuracy: unknown: /no/such/folder" in (report.folder / "report.md").read_text()
    (changed / "weights.npz").write_bytes(b"PK\x03\x04 not really")
    store.artifacts.upload(run_id, changed)
    report = write_report(store, queries.find_sweep(store, "moved"), tmp_path)
    assert report.best is not None
    assert "is damaged" in (report.best.test_problem or "")
    assert "<img" not in (report.folder / "report.html").read_text()


def test_report_of_a_diverged_sweep_states_the_remedy(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    train_sweep(store, folder, "div", {"learning_rate": 1e9}, {"learning_rate": 1e10})
    report = write_report(store, queries.find_sweep(store, "div"), tmp_path)
    assert report.best is None
    sentence = report.lines[0]
    assert sentence.startswith("No model to choose (2 jobs: 2 diverged): lower learning_rate")
    assert "lower learning_rate (the smallest that diverged was 1e9)" in sentence
    assert json.loads((report.folder / "report.json").read_text())["best"] is None
    for name in ("report.html", "report.md"):
        assert sentence.split("(")[0] in (report.folder / name).read_text()
    assert len(pd.read_csv(report.folder / "report.csv")) == 2


def test_sweep_without_jobs_has_a_report(store: Store, tmp_path: Path) -> None:
    store.start_sweep(store.ensure_experiment("digits"), "none", "…")
    report = write_report(store, queries.find_sweep(store, "none"), tmp_path)
    assert report.lines[0].startswith("No model to choose (0 jobs)")


def test_two_sweeps_are_compared(
    store: Store, swept: Sweep, written: Report, folder: Path, tmp_path: Path
) -> None:
    other = train_sweep(store, folder, "weak", {"learning_rate": 0.01}, {"learning_rate": 0.02})
    assert written.best is not None
    for first, second in ((swept, other), (other, swept)):
        report = write_report(store, first, tmp_path, against=second)
        assert report.verdict is not None
        assert f"The chosen model of {swept.name} is better" in report.verdict
        assert report.folder.name == f"{first.name}-against-{second.name}"
        facts = json.loads((report.folder / "report.json").read_text())
        rows = {row[0]: row[1:] for row in facts["against"]["rows"]}
        assert rows["Best model"][first is other] == "H=16 lr=1"
        page = Page((report.folder / "report.html").read_text())
        assert report.verdict in page.text
        assert report.verdict in (report.folder / "report.md").read_text()
    same = write_report(store, swept, tmp_path, against=swept)
    assert same.verdict is not None
    assert same.verdict == "Both sweeps chose the same run."


def test_second_reading_of_the_test_split_is_reported(store: Store, folder: Path) -> None:
    jobs = [{"learning_rate": 0.3, "seed": seed} for seed in (0, 1)]
    sweep = train_sweep(store, folder, "again", *jobs)
    assert "was measured for" not in " ".join(write_report(store, sweep, folder).notes)
    other = queries.sweep_runs(store, sweep).query("`metrics.test_acc`.isna()").iloc[0]
    store.log(other["run_id"], [Point(1, 0, {"test_acc": 0.5})])
    told = " ".join(write_report(store, sweep, folder).notes)
    assert "The test accuracy was measured for 2 models of this sweep" in told


def test_reading_of_the_test_split_by_another_sweep_is_not_counted(
    store: Store, folder: Path
) -> None:
    jobs = [{"learning_rate": 0.3}, {"learning_rate": 0.01}]
    sweep = train_sweep(store, folder, "first reader", *jobs)
    best = write_report(store, sweep, folder).best
    assert best is not None
    runs = queries.sweep_runs(store, sweep).query(f"run_id != '{best.run_id}'")
    other = store.start_sweep(sweep.experiment_id, "second reader", "…", 1)
    store.link_reused_runs(other, {0: runs["run_id"].iloc[0]})
    reused = write_report(store, other, folder).best
    assert reused is not None
    assert reused.test_acc is not None
    assert "was measured for" not in " ".join(write_report(store, sweep, folder).notes)


def test_json_has_the_diagnostics_of_the_chosen_model(
    written: Report, facts: dict[str, Any]
) -> None:
    measured = facts["diagnostics"]
    confusion = np.array(measured["confusion"])
    assert confusion.sum() == 359
    assert written.best is not None
    assert np.trace(confusion) / 359 == pytest.approx(written.best.val_acc)
    gap = measured["train_acc"] - written.best.val_acc
    assert measured["generalisation_gap"] == pytest.approx(gap)
    for mistake in measured["mistakes"]:
        assert mistake["label"] != mistake["predicted"]
    front = facts["evidence"]["pareto_front"]
    assert facts["evidence"]["configurations"][0]["configuration"] in front


def test_json_follows_its_schema(facts: dict[str, Any]) -> None:
    schema = json.loads((ROOT / "pipeline" / "report" / "report.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(facts, schema)
    wrong = facts | {"schema_version": 2}
    with pytest.raises(jsonschema.ValidationError, match="3 was expected"):
        jsonschema.validate(wrong, schema)


def test_report_is_loaded_as_dataframes(
    store: Store, written: Report, facts: dict[str, Any]
) -> None:
    found = load(written.sweep, store.uri)
    assert found.facts == facts
    assert facts["schema_version"] == 3
    assert found.runs["run_id"].iloc[0] == facts["best"]["run_id"]
    assert found.configurations["group"].tolist()[0] == "chosen"
    assert set(found.importance["values"]) >= {("hidden_size",), ("learning_rate",)}
    assert list(found.curves[facts["best"]["run_id"]]["val_acc"].index) == [1, 2, 3]


def test_latest_links_to_the_newest_report(store: Store, folder: Path, tmp_path: Path) -> None:
    for name in ("latest", "../x", "y"):
        store.start_sweep(store.ensure_experiment("digits"), name, "…")
        report = write_report(store, queries.find_sweep(store, name), tmp_path)
        assert (tmp_path / "latest").resolve() == report.folder
        assert (tmp_path / "latest" / "report.html").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".._x", "latest", "latest_", "y"]
    assert write_report(store, queries.find_sweep(store, None), tmp_path).sweep == "y"


def test_unknown_sweep_gives_one_sentence(store: Store, written: Report) -> None:
    command = ["--sweep", "nowhere", "--tracking-uri", store.uri]
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.report", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("there is no sweep 'nowhere'")
    assert len(done.stderr.splitlines()) == 1


def test_missing_store_is_not_created(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"there is no store at .* yet: start a sweep"):
        main([])
    assert not outputs.exists()


def test_command_prints_the_answer_and_the_path_of_the_report(
    store: Store, written: Report, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--sweep", "s1", "--tracking-uri", store.uri])
    assert not stop.value.code
    printed = capsys.readouterr().out.splitlines()
    assert printed[:4] == list(written.lines[:4])
    assert "of the other 3 configurations" in printed[3]
    assert re.match(
        r"Ensemble of \d models: [\d.]+ % against [\d.]+ % for the best single ", printed[4]
    )
    assert printed[5] == "6 jobs: 4 finished, 1 diverged, 1 failed"
    assert printed[6].startswith("job 5 failed: hidden_size must be a whole number")
    again = "1 of 6 jobs have no result; to train only these, run the same command again: python"
    assert printed[7].startswith(again)
    assert printed[8] == f"Report: {outputs}/reports/s1/report.html"
    assert Path(printed[8].removeprefix("Report: ")).exists()


def test_unwritable_folder_gives_one_sentence(store: Store, written: Report) -> None:
    with pytest.raises(ReportError, match=r"/dev/null/s1 .*PIPELINE_OUTPUTS"):
        write_report(store, queries.find_sweep(store, "s1"), Path("/dev/null"))


def test_report_of_a_table_shows_features_and_class_imbalance(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"signal": rng.normal(size=300), "port": rng.choice(["Cork", "Rome"], 300)}
    )
    frame["fraud"] = np.where(frame["signal"] > 1.2, "<b>yes</b>", "no")
    frame.to_csv(tmp_path / "fraud.csv", index=False)
    data = DataConfig(name="fraud", kind="table", file=f"{tmp_path}/fraud.csv", target="fraud")
    sweep = train_sweep(store, folder, "fraud", {"batch_size": 20, "num_epochs": 8}, data=data)
    done = write_report(store, sweep, tmp_path / "reports")
    found = json.loads((done.folder / "report.json").read_text())["diagnostics"]
    assert found["classes"] == ["<b>yes</b>", "no"]
    counts = np.array(found["confusion"])
    recalls = counts.diagonal() / counts.sum(axis=1)
    assert found["recalls"] == pytest.approx(recalls)
    assert found["balanced_acc"] == pytest.approx(recalls.mean())
    baseline = counts[1].sum() / counts.sum()
    assert found["majority_baseline"] == {"class": "no", "accuracy": pytest.approx(baseline)}
    assert [each["column"] for each in found["permutation_importance"]] == ["signal", "port"]
    assert {each["feature"] for each in found["weights"]} == {"signal", "port=Cork", "port=Rome"}
    page = Page((done.folder / "report.html").read_text())
    assert "b" not in page.tags and "img" not in page.tags
    for text in ("<b>yes</b>", "Permutation importance (2 of 2 columns)", "port=Rome", "Balanced"):
        assert text in page.text
    assert "First-layer weights (3 of 3 features)" in (done.folder / "report.md").read_text()


def test_confusions_of_many_classes_are_listed_and_empty_cells_are_blank(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(600) % 30
    X = rng.normal(size=(30, 8))[y] + 0.7 * rng.normal(size=(600, 8))
    np.savez(tmp_path / "many.npz", X=X, y=y)
    data = DataConfig(name="many", kind="npz", file=f"{tmp_path}/many.npz")
    sweep = train_sweep(store, folder, "many", {"batch_size": 20, "num_epochs": 8}, data=data)
    done = write_report(store, sweep, tmp_path / "reports")
    counts = np.array(
        json.loads((done.folder / "report.json").read_text())["diagnostics"]["confusion"]
    )
    np.fill_diagonal(counts, 0)
    page = (done.folder / "report.html").read_text()
    i, j = divmod(int(counts.argmax()), 30)
    assert f'title="{i}, predicted {j}: {counts.max()}"' in page
    row = rf"<td>{i}</td><td>{j}</td><td>{counts.max()}</td>"
    assert re.search(r"Most frequent confusions.*?<tbody>\s*<tr>" + row, page, re.DOTALL)
    assert page.count("<td></td>") > 600
