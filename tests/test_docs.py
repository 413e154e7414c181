"""The documentation agrees with the project."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from pipeline.paths import ROOT
from tests.torture.__main__ import SECTIONS
from tests.torture.page import KEPT, write_page

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_reference_lists_the_current_configuration() -> None:
    text = runpy.run_path(str(ROOT / "docs" / "reference.py"))["text"]()
    assert (ROOT / "docs" / "reference.md").read_text() == text, "run make schema"


def test_every_field_of_the_report_is_described() -> None:
    text = runpy.run_path(str(ROOT / "docs" / "report_fields.py"))["text"]()
    assert (ROOT / "docs" / "report-fields.md").read_text() == text, "run make schema"
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_images_of_a_page_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    local = [target for target in targets if not target.startswith("http")]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert missing == []


def test_readme_names_no_make_target_that_does_not_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:    |`)make ([a-z-]+)", (ROOT / "README.md").read_text())
    assert named
    assert set(named) <= set(targets)


def test_reliability_names_only_tests_and_trials_that_exist() -> None:
    table = (ROOT / "docs" / "reliability.md").read_text().partition(KEPT)[2]
    rows = [
        line for line in table.splitlines() if line.startswith("| ") and "Guarantee" not in line
    ]
    assert len(rows) > 25
    assert all("`tests/" in row for row in rows)
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", table):
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"
    trials = set(re.findall(r"trial `(\w+)`", table))
    kinds = {kind.name for section in SECTIONS for kind in section.kinds}
    assert trials and trials <= kinds


def test_hand_written_part_of_the_reliability_page_survives_a_new_measurement(
    tmp_path: Path,
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"old\n\n{KEPT}\n\ntable\n")
    for text in ("new\n", "newer\n"):
        write_page(text, page)
        assert page.read_text() == f"{text}\n{KEPT}\n\ntable\n"
