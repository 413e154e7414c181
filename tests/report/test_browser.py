"""The report and the MLflow UI in a real browser: rendering, sorting, filters and requests."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
from PIL import Image

from pipeline.analysis.heatmap import make_heatmap
from pipeline.analysis.runs import rank, tabulate
from pipeline.analysis.sweep import analyse
from pipeline.config import DataConfig
from pipeline.report.drawings import draw
from pipeline.report.formatting import percent
from pipeline.report.html import html
from pipeline.report.labels import label
from pipeline.report.write import Report, write_report
from pipeline.serving.promotion import promote
from pipeline.tracking import queries
from pipeline.tracking.entities import Sweep
from pipeline.tracking.store import Store
from pipeline.tracking.views import View, view_page
from tests.browser import CHROMIUM, Browser
from tests.sweeps import train_sweep

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

GRID = [
    {"hidden_size": H, "learning_rate": lr, "l2_reg": l2}
    for H in (8, 16)
    for lr in (0.03, 0.3, 1.0)
    for l2 in (0.0, 1e-3)
]


# Pairs of texts in a chart that cover each other. The boxes of slanted texts are larger than these.
COLLISIONS = """[...document.querySelectorAll('.drawing svg')].flatMap((svg) => {
  const texts = [...svg.querySelectorAll('text')].filter((t) => !/rotate[(]-2/.test(t.outerHTML))
  const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()])
  return boxes.flatMap(([a, one], i) => boxes.slice(i + 1)
    .filter(([_, two]) => one.left < two.right - 1 && two.left < one.right - 1
      && one.top < two.bottom - 3 && two.top < one.bottom - 3)
    .map(([b, _]) => a + ' | ' + b))
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def sweep(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """On digits: twelve that finish, one that diverges after some epochs, one that fails."""
    more = [{"learning_rate": 0.3, "l2_reg": 20.0}, {"hidden_size": "<b>many</b>"}]
    return train_sweep(store, tmp_path_factory.mktemp("seen"), "seen", *GRID, *more)


@pytest.fixture(scope="module")
def written(store: Store, sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return write_report(
        store, queries.find_sweep(store, "seen"), tmp_path_factory.mktemp("reports")
    )


@pytest.fixture
def page(browser: Browser, written: Report) -> Browser:
    browser.size(1440)
    browser.prefer()
    browser.open((written.folder / "report.html").as_uri())
    browser.run("document.querySelectorAll('details').forEach((folded) => { folded.open = true })")
    return browser


def column(page: Browser, number: int) -> list[str]:
    """The texts of a column of the table of finished jobs, as far as rows are shown."""
    cells = (
        f"[...document.querySelectorAll('.finished tbody tr:not([hidden]) td:nth-child({number})')]"
    )
    return list(page.run(f"{cells}.map((cell) => cell.textContent)"))


def heading(page: Browser, name: str) -> int:
    names = page.run("[...document.querySelectorAll('.finished th')].map((th) => th.textContent)")
    return int(names.index(name)) + 1


def test_page_is_drawn_without_network_or_errors(page: Browser, written: Report) -> None:
    text = page.text()
    assert written.best is not None
    assert f"Best model: H={written.best.values['hidden_size']}" in text[:400]
    for title in ("Hyperparameter importance", "Learning curves", "Chosen model", "All runs"):
        assert title in text
    assert (
        page.run("document.querySelectorAll('svg').length") == 9
    )  # 3 marginals, 2, 3 of curves, calibration
    drawn = "[...document.querySelectorAll('img')].every((i) => i.complete && i.naturalWidth > 0)"
    assert page.run(drawn)
    assert [url for url in page.requests() if not url.startswith(("file:", "data:"))] == []
    assert page.complaints() == []
    assert "<b>many</b>" in text


def test_click_on_a_heading_sorts_and_second_click_reverses(page: Browser) -> None:
    number = heading(page, "best_val_loss")
    button = f"document.querySelector('.finished th:nth-child({number}) button')"
    for direction, reverse in (("ascending", False), ("descending", True)):
        page.run(f"{button}.click()")
        values = [float(text) for text in column(page, number)]
        assert values == sorted(values, reverse=reverse)
        assert len(values) == len(GRID)
        assert page.run(f"{button}.parentElement.getAttribute('aria-sort')") == direction


def test_columns_of_numbers_are_sorted_as_numbers(page: Browser) -> None:
    for name in ("λ", "lr", "H", "best_val_acc", "run time"):
        number = heading(page, name)
        page.run(f"document.querySelector('.finished th:nth-child({number}) button').click()")
        cells = f"[...document.querySelectorAll('.finished tbody td:nth-child({number})')]"
        keys = page.run(f"{cells}.map((cell) => Number(cell.dataset.key ?? cell.textContent))")
        assert None not in keys
        assert keys == sorted(keys), name


def test_words_in_the_filter_hide_other_rows(page: Browser) -> None:
    bar = "document.querySelector('.finished').parentElement.previousElementSibling"
    field = f"{bar}.querySelector('input')"
    page.run(f"{field}.value = 'H=16 lr=0.3'; {field}.dispatchEvent(new Event('input'))")
    assert set(column(page, heading(page, "H"))) == {"16"}
    assert len(column(page, 1)) == 2
    assert "2 of 12" in page.text()
    page.run(f"{field}.value = ''; {field}.dispatchEvent(new Event('input'))")
    assert len(column(page, 1)) == len(GRID)


def test_table_of_configurations_can_be_filtered(page: Browser, written: Report) -> None:
    facts = json.loads((written.folder / "report.json").read_text())["evidence"]
    field = "document.querySelector('.filter input')"
    page.run(f"{field}.value = 'no'; {field}.dispatchEvent(new Event('input'))")
    rows = "[...document.querySelectorAll('.compared tbody tr:not([hidden])')]"
    worse = page.run(f"{rows}.map((row) => row.cells[0].textContent)")
    swept = [row["values"] for row in facts["configurations"] if row["worse"]]
    assert worse[:-1] == [label(values, list(values)) for values in swept]
    assert worse[-1].startswith("baseline: always ")


def test_bars_of_the_importances_are_as_long_as_the_shares(page: Browser, written: Report) -> None:
    rows = "[...document.querySelectorAll('.bars tr')]"
    shown = page.run(
        f"{rows}.map((row) => [row.cells[0].textContent, row.cells[2].textContent,"
        "row.querySelector('div').getBoundingClientRect().width])"
    )
    facts = json.loads((written.folder / "report.json").read_text())["evidence"]
    shares = {
        " × ".join(row["names"]): row["log_error"]
        for row in facts["importance"]
        if row["log_error"] >= 0.001
    }
    assert {name: text for name, text, _ in shown} == {n: percent(s) for n, s in shares.items()}
    longest, _, full = shown[0]
    for name, _, width in shown:
        assert width == pytest.approx(full * shares[name] / shares[longest], abs=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_large_heatmap_and_seven_values_fit(
    browser: Browser, store: Store, sweep: Sweep, tmp_path: Path, width: int, scheme: str
) -> None:
    found = analyse(store, sweep)
    assert found.evidence is not None
    axes = {"learning_rate": np.geomspace(1e-3, 0.999, 24), "l2_reg": np.geomspace(1e-6, 0.9, 24)}
    grid = pd.DataFrame(list(itertools.product(*axes.values())), columns=list(axes))
    jobs = found.jobs.iloc[[0] * len(grid)].reset_index(drop=True).assign(**grid)
    others = ["hidden_size", "learning_rate_decay", "batch_size", "momentum", "dropout"]
    table = found.evidence.configurations.assign(**{name: [0, 1] * 6 for name in others})
    swept = [*found.evidence.swept, *others]
    evidence = replace(found.evidence, configurations=table, swept=swept, front=table[:1])
    heatmap = make_heatmap(jobs, list(axes))
    jobs = found.jobs.assign(**{name: [0, 1] * 7 for name in others})
    found = replace(found, jobs=jobs, heatmap=heatmap, evidence=evidence)
    path = tmp_path / "report.html"
    path.write_text(html(found, None, draw(found)))
    browser.size(width)
    browser.prefer(prefers_color_scheme=scheme)
    browser.open(path.as_uri())
    browser.until(f"innerWidth === {width}")
    assert browser.run("document.querySelectorAll('.heat td[style]').length") == 576
    inside = "document.querySelector('.heat').parentElement"
    assert browser.run(f"{inside}.scrollWidth <= {inside}.clientWidth")
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(COLLISIONS) == []


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_overflows_the_page(page: Browser, width: int) -> None:
    page.size(width)
    page.until(f"innerWidth === {width}")
    assert page.run("document.documentElement.scrollWidth") <= width
    narrow = "[...document.querySelectorAll('svg')].map((svg) => svg.getBoundingClientRect().width)"
    assert min(page.run(narrow)) > 250


def contrast(page: Browser, selector: str) -> float:
    """Of a text against the page (WCAG 2.1, 1.4.3)."""
    return contrast_of(
        *page.run(
            f"[getComputedStyle(document.querySelector('{selector}')).color, "
            "getComputedStyle(document.body).backgroundColor]"
        )
    )


def contrast_of(*colours: str) -> float:
    """Of two colours, as rgb(…)."""
    luminances = []
    for text in colours:
        rgb = np.array([int(n) for n in re.findall(r"\d+", text)[:3]]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        luminances.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_light_and_dark_mode(page: Browser, scheme: str) -> None:
    page.prefer(prefers_color_scheme=scheme)
    for selector in ("h1", ".caption", ".runs th", ".drawing text", "figcaption"):
        assert contrast(page, selector) >= 4.5, selector
    cells = "[...document.querySelectorAll('.heat td[style]')].map(getComputedStyle)"
    for ink, colour in page.run(f"{cells}.map((style) => [style.color, style.backgroundColor])"):
        assert contrast_of(ink, colour) >= 4.5, colour
    pixels = np.asarray(Image.open(io.BytesIO(page.picture())).convert("L"), float)
    assert (np.median(pixels) < 60) == (scheme == "dark")


def test_page_prints(page: Browser) -> None:
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12
    page.prefer("print", prefers_color_scheme="dark")
    shown = "getComputedStyle(document.querySelector('{}')).{}"
    assert page.run(shown.format("body", "backgroundColor")) == "rgb(255, 255, 255)"
    assert page.run(shown.format(".filter", "display")) == "none"
    page.prefer()


def test_page_is_complete_without_javascript(browser: Browser, written: Report) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.ask("Page.navigate", url=(written.folder / "report.html").as_uri())
        time.sleep(1)
        document = browser.ask("DOM.getDocument", depth=-1)["root"]["nodeId"]
        html = browser.ask("DOM.getOuterHTML", nodeId=document)["outerHTML"]
        assert html.count("<tr") >= 12
        assert 'class="filter"' not in html
        assert "<button" not in html
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)


def test_screen_reader_finds_headings_and_descriptions(page: Browser) -> None:
    tree = page.ask("Accessibility.getFullAXTree")["nodes"]
    roles: dict[str, list[str]] = {}
    for node in tree:
        role = str(node.get("role", {}).get("value"))
        roles.setdefault(role, []).append(str(node.get("name", {}).get("value", "")))
    assert len([name for name in roles["heading"] if name]) >= 8
    assert all(roles.get("image", [])), "a picture without a text"
    assert all(roles["region"])
    assert len(roles["columnheader"]) > 12
    fields = [name for name in roles["searchbox"] if name]
    assert fields == ["Filter: All configurations", "Filter: Finished jobs", *fields[2:]]


@pytest.mark.skipif("CIFAR10_DIR" not in os.environ, reason="CIFAR10_DIR is not set")
def test_report_of_colour_images_is_drawn(browser: Browser, store: Store, tmp_path: Path) -> None:
    data = DataConfig("cifar10", os.environ["CIFAR10_DIR"], None, {})
    jobs = [
        {"learning_rate": lr, "num_epochs": 1, "weight_std": 0.01, "batch_size": 200}
        for lr in (0.01, 0.1)
    ]
    train_sweep(store, tmp_path, "colours", *jobs, data=data)
    report = write_report(store, queries.find_sweep(store, "colours"), tmp_path / "reports")
    page = report.folder / "report.html"
    assert page.stat().st_size < 3_000_000
    browser.size(1440)
    browser.open(page.as_uri())
    for name in ("airplane", "truck", "Generalisation gap", ", predicted "):
        assert name in browser.text()
    assert browser.run("[...document.images].filter((i) => i.naturalWidth > 0).length") == 9
    assert browser.complaints() == []
    browser.size(390)
    browser.until("innerWidth === 390")
    assert browser.run("document.documentElement.scrollWidth") <= 390


@pytest.fixture(scope="module")
def ui(store: Store, written: Report) -> Iterator[str]:
    """The MLflow UI of the store, with the chosen model promoted."""
    runs = queries.sweep_runs(store, queries.find_sweep(store, "seen"))
    promote(store, rank(tabulate(runs)).iloc[0])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--backend-store-uri", store.uri]
    switched_off = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    process = subprocess.Popen(
        command, env=os.environ | switched_off, stderr=subprocess.DEVNULL, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(450):
        try:
            requests.get(f"{address}/health", timeout=5)
            break
        except requests.ConnectionError:
            assert process.poll() is None
            time.sleep(0.2)
    yield address
    os.killpg(process.pid, 9)
    process.wait()


def test_mlflow_ui_shows_the_sweep_its_jobs_and_the_champion(
    browser: Browser, ui: str, store: Store, sweep: Sweep, written: Report
) -> None:
    assert written.best is not None
    facts = asdict(written.best)
    browser.size(1440, 1400)
    runs = f"{ui}/#/experiments/{sweep.experiment_id}/runs"
    browser.open(f"{runs}/{sweep.run_id}")
    browser.until(f"document.body.innerText.includes('H={facts['values']['hidden_size']}')")
    assert "Validation accuracy" in browser.text()  # the description
    links = browser.run("[...document.querySelectorAll('a')].map((a) => a.href)")
    assert any(link.endswith(f"/runs/{facts['run_id']}") for link in links)
    pictures = "[...document.images].filter((image) => image.src.includes('.svg'))"
    browser.until(f"{pictures}.filter((image) => image.naturalWidth > 0).length >= 3")
    browser.open(f"{runs}?workflowType=machine_learning")
    browser.until(f"document.body.innerText.includes('sweep {sweep.name}')")
    browser.ask("Page.navigate", url="about:blank")
    browser.open(f"{ui}/{view_page(sweep, View.LEADERBOARD)}")
    browser.until("document.body.innerText.includes('Sort: best_val_acc')")
    names = (
        "[...document.querySelectorAll('.ag-row')]"
        ".sort((a, b) => a.getAttribute('row-index') - b.getAttribute('row-index'))"
        ".flatMap((row) => [...row.querySelectorAll('a')]).map((a) => a.textContent)"
        ".filter((name) => name.startsWith('H=') || name.startsWith('sweep'))"
    )
    browser.until(f"{names}[0] === '{facts['name']}'")
    rows = json.loads((written.folder / "report.json").read_text())["runs"]
    accuracies = {row["name"]: row["best_val_acc"] for row in rows}
    known = [accuracies[name] for name in browser.run(names)]  # only the jobs of this sweep
    assert len(known) > 3
    assert known == sorted(known, reverse=True)
    for column in ("hidden_size", "learning_rate", "l2_reg", "best_val_acc"):
        assert column in browser.text()
    browser.ask("Page.navigate", url="about:blank")
    browser.open(f"{ui}/{view_page(sweep, View.CURVES)}")
    browser.until("document.querySelectorAll('.js-plotly-plot').length >= 4")
    browser.ask("Page.navigate", url="about:blank")
    browser.open(f"{ui}/{view_page(sweep, View.PARALLEL)}")
    browser.until("document.querySelectorAll('.parcoords, svg g.axis').length >= 1")
    browser.open(f"{runs}/{facts['run_id']}")
    browser.until(f"document.body.innerText.includes('{facts['name']}')")
    browser.until("document.body.innerText.includes('best_val_acc')")
    browser.open(f"{runs}/{facts['run_id']}/model-metrics")
    browser.until("document.querySelectorAll('.js-plotly-plot').length >= 4")  # the curves
    browser.open(f"{ui}/#/models/digits")
    browser.until("document.body.innerText.includes('champion')")
    assert "Two-layer network for digits" in browser.text()
