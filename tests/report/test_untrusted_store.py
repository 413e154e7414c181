"""A store full of hostile names and markup: the report shows them as text, inside its folder."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from pipeline.report.write import write_report
from pipeline.tracking import queries
from pipeline.tracking.entities import Point
from pipeline.tracking.store import Store
from tests.commands import succeed

HOSTILE_EXPERIMENT = "../../<script>alert(1)</script> | `x` '; DROP TABLE runs"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a sweep whose experiment would like to lie elsewhere, and to be markup."""
    outputs = tmp_path_factory.mktemp("hostile") / "outside" / "outputs"
    value = '"' + HOSTILE_EXPERIMENT.replace('"', r"\"") + '"'
    jobs = ("hidden_size=4,8", "num_epochs=1", "learning_rate=1", "hydra.launcher.shards=1")
    succeed(outputs, "-m", *jobs, f"tracking.experiment={value}")
    return outputs


def is_open(path: Path) -> None:
    """Read a file that a sweep has written as what it is; it must not be a pickle."""
    content = path.read_bytes()
    assert content[:1] != b"\x80", f"{path} opens like a pickle"
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            assert all(file[name].dtype.kind in "fiubUS" for name in file)
    elif path.suffix == ".yaml":
        yaml.safe_load(content)
    elif path.suffix == ".json":
        json.loads(content)
    elif path.suffix == ".csv":
        assert list(csv.reader(content.decode().splitlines()))
    elif path.suffix == ".svg":
        assert ElementTree.fromstring(content).tag.endswith("}svg")
    elif path.suffix in (".db-shm", ".db-wal"):
        pass  # SQLite's own files, while a process has the database open
    elif path.suffix == ".db":
        assert content.startswith(b"SQLite format 3\0")
    else:
        assert path.suffix in (".html", ".md", ".log", ".lock"), f"of what kind is {path}?"
        content.decode()


def test_no_file_of_a_sweep_is_a_pickle(swept: Path) -> None:
    paths = [path for path in swept.rglob("*") if path.is_file()]
    for path in paths:
        is_open(path)
    kinds = {path.suffix for path in paths}
    assert {".npz", ".yaml", ".json", ".csv", ".db", ".html", ".md", ".log"} <= kinds


# Names that would lie outside of outputs/


def test_hostile_experiment_name_stays_inside_outputs(swept: Path) -> None:
    assert [path.name for path in swept.parent.parent.iterdir()] == ["outside"]
    assert [path.name for path in swept.parent.iterdir()] == ["outputs"]
    allowed = {"mlartifacts", "multirun", "reports", "mlflow.db", "mlflow.db.lock", "checkpoints"}
    assert {path.name for path in swept.iterdir()} <= allowed
    (experiment,) = (swept / "mlartifacts").iterdir()
    assert "/" not in experiment.name
    assert "<" not in experiment.name


@pytest.mark.parametrize("name", ["../x", "/x", "a/b/../../..", "..", "-rf", "<b>", "ü\u202e "])
def test_hostile_sweep_name_stays_inside_reports(swept: Path, tmp_path: Path, name: str) -> None:
    store = Store(f"sqlite:///{swept}/mlflow.db")
    store.start_sweep(store.ensure_experiment("names"), name, "…")
    report = write_report(store, queries.find_sweep(store, name), tmp_path / "reports")
    assert [path.name for path in tmp_path.iterdir()] == ["reports"]
    assert report.folder.resolve().parent == tmp_path / "reports"
    assert (report.folder / "report.html").exists()


# The report of a store in which everything is markup

MARKUP = [
    "<script>alert(1)</script>",
    '"><img src=http://evil.example/x onerror=alert(2)>',
    "' onmouseover='alert(3)' style='background:url(//evil.example)",
    "</title></style></svg></table><svg onload=alert(4)><!--",
    "{{ 7*7919 }}{% raise %}${x}&lt;b&gt;&#60;i&#62;",
    "[a](javascript:alert(5)) ![b](http://evil.example) `c` **d** _e_ ~f~ | g |\\| <h@i.k>",
    "\x1b[31mred\x07\u202egnp.exe\ufeff\x00end",
    "x" * 300,
]


GRID = {"hidden_size": 4, "l2_reg": 1e-4, "learning_rate": 1.0}


@pytest.fixture(scope="module")
def page(swept: Path) -> tuple[str, str, str]:
    """The report as HTML and Markdown, and what of the hostile texts a reader must see."""
    store = Store(f"sqlite:///{swept}/mlflow.db")
    texts = iter(MARKUP * 9)
    experiment = store.ensure_experiment(HOSTILE_EXPERIMENT)
    sweep = store.start_sweep(experiment, " ".join(MARKUP[:2]), " ".join(MARKUP))
    weights = next(swept.glob("mlartifacts/*/*/artifacts/weights.npz")).parent
    for number, outcome in enumerate(("finished", "finished", "diverged", "failed", "odd", "")):
        facts = {"job": str(number), "dataset": next(texts), "dataset_digest": next(texts)}
        if outcome in ("finished", "diverged"):
            facts |= {"num_train": "1079", "num_val": "359"}
        run_id = store.start_run(experiment, MARKUP[number], facts, sweep)
        keys = ("learning_rate_decay", "num_epochs", "dtype", "data.name", "weight_std", "seed")
        params: dict[str, Any] = {key: next(texts) for key in keys}
        params |= GRID if "num_val" in facts else dict.fromkeys(GRID, next(texts))
        values = {"best_val_acc": 0.5, "best_val_loss": 1.0, "best_epoch": 1, "val_acc": 0.5}
        points = [Point(1, 1, values if outcome == "finished" else {"train_loss": 1.0})]
        tags = {"outcome": outcome, "error": "\n".join(MARKUP)} if outcome else {}
        store.log(run_id, points, params, tags | {"diverged_epoch": "1"})
        if number == 0:
            store.artifacts.upload(run_id, weights)
    report = write_report(store, queries.find_sweep(store, sweep.name), swept / "reports")
    assert report.best is not None
    html, markdown = (
        (report.folder / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "md")
    )
    return html, markdown, " ".join(MARKUP[:6])


class Reader(HTMLParser):
    """Parses a page as a browser does."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.comments: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


PAGE_TAGS = """
html head meta title style body header div h1 h2 p main ul ol li section table caption
thead tbody tr th td figure figcaption img span dl dt dd h3 script details summary strong pre
code a"""
SVG_TAGS = """
svg g defs path use text tspan rect clippath metadata rdf:rdf cc:work dc:type dc:date
dc:format dc:creator cc:agent dc:title"""


def test_markup_in_a_store_is_shown_as_text_in_html(page: tuple[str, str, str]) -> None:
    html, _, hostile = page
    reader = Reader(html)
    assert {tag for tag, _ in reader.tags} <= {*PAGE_TAGS.split(), *SVG_TAGS.split()}
    assert all("evil" not in comment for comment in reader.comments)
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name, value in attributes.items():
            assert tag == "meta" or "evil" not in (value or "").replace(hostile, ""), (tag, name)
    seen = " ".join(reader.text.split())
    for text in MARKUP[:6]:
        assert seen.count(text) >= 4  # as name, value, error and in the command
    assert "55433" not in seen
    for letter in "\x1b\x07\u202e\ufeff\x00":
        assert letter not in html


def test_page_has_no_external_links_and_a_strict_policy(page: tuple[str, str, str]) -> None:
    html, _, _ = page
    reader = Reader(html)
    pointing = {"src", "href", "xlink:href", "srcset", "data", "action", "poster", "background"}
    for tag, attributes in reader.tags:
        for name in pointing & set(attributes):
            known = ("data:image/png;base64,", "#")
            if tag == "a":  # to MLflow's UI, loaded on a click
                known = ("http://127.0.0.1:5000/#/experiments/",)
            assert (attributes[name] or "").startswith(known), (tag, name)
        for value in attributes.values():
            for target in re.findall(r"url\(\s*([^)]*)", value or ""):
                assert target.startswith("#")
    for style in re.findall(r"<style[^>]*>(.*?)</style>", html, re.DOTALL):
        assert "@import" not in style
        assert "url(" not in style
    (first, *_) = (a for tag, a in reader.tags if tag == "meta" and "http-equiv" in a)
    assert first["http-equiv"] == "Content-Security-Policy"
    policy = dict(part.split(maxsplit=1) for part in str(first["content"]).split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    assert policy["style-src"] == "'unsafe-inline'"
    assert re.fullmatch(r"'sha256-[\w+/]{43}='", policy["script-src"])
    assert html.count("<script") == 1
    # A policy rules what comes after it.
    places = [html.index(text) for text in ("Content-Security-Policy", "<title", "<style", "<body")]
    assert places == sorted(places)


def test_markup_in_a_store_is_escaped_in_markdown(page: tuple[str, str, str]) -> None:
    _, markdown, _ = page
    bare = re.sub(r"\\[\\`*\[\]<>|~&_]", "", markdown)  # what is escaped cannot be markup
    assert not set("<>[]`~&") & set(bare)
    assert not re.search(r"(?<![^\W_])_|_(?![^\W_])", bare)
    for letter in "\x1b\x07\u202e\ufeff\x00":
        assert letter not in markdown
    plain = re.sub(r"\\([\\`*\[\]<>|~&_])", r"\1", markdown)
    for text in MARKUP[:6]:
        assert text in plain
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        bars = {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in table.splitlines()}
        assert len(bars) == 1


def test_hostile_names_are_plain_text_on_the_terminal_in_the_verdict_and_in_csv_files(
    swept: Path,
) -> None:
    store = Store(f"sqlite:///{swept}/mlflow.db")
    first = next(s for s in store.search("tags.kind = 'sweep'") if s.data.tags["sweep"][0] == "2")
    original = queries.find_sweep(store, first.data.tags["sweep"])
    worse = queries.sweep_runs(store, original).sort_values("metrics.best_val_acc").iloc[0]
    hostile = store.start_sweep(original.experiment_id, "\x1b[31m|<b>*x*", "…", 1)
    store.client.update_run(worse["run_id"], name='=HYPERLINK("http://evil.example")')
    store.link_reused_runs(hostile, {0: worse["run_id"]})
    names = ("--sweep", hostile.name, "--against", original.name)
    done = succeed(swept, *names, module="pipeline.report")
    assert "\x1b" not in done.stdout
    assert "<b>*x*" in done.stdout
    markdown = (swept / "reports" / "latest" / "report.md").read_text()
    assert "\x1b" not in markdown
    assert r"\|\<b\>\*x\*" in markdown
    assert "|<b>*x*" not in markdown
    with (swept / "reports" / "latest" / "report.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert """'=HYPERLINK("http://evil.example")""" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]
