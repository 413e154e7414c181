"""Numbers and texts as a reader sees them."""

from __future__ import annotations

import pytest

from pipeline.report.formatting import csv_text, duration, markdown_text, percent, points, show


def test_numbers_are_formatted_for_readers() -> None:
    assert [show(v) for v in (1e-4, 0.3, 1000, "abc", None)] == ["1e-4", "0.3", "1000", "abc", "–"]
    assert [percent(v) for v in (0.97216, 1)] == ["97.2 %", "100.0 %"]
    assert [duration(v) for v in (0.03, 4.21, 59.97, 200, 7500)] == [
        "< 0.1 s",
        "4.2 s",
        "1 min 0 s",
        "3 min 20 s",
        "2 h 5 min",
    ]
    assert [show(v) for v in (True, False)] == ["true", "false"]
    assert [points(v) for v in (0.0149, -0.2, -1e-5)] == ["+1.5", "-20.0", "+0.0"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_csv_cells_are_no_formulas(text: str) -> None:
    assert csv_text(text) == f"'{text}"
    assert csv_text(f"a{text}") == f"a{text}"
    assert csv_text(-1.5) == -1.5


def test_markdown_escapes_markup_and_control_characters() -> None:
    assert markdown_text("a|b *c* <d>\n\x1b[31m") == "a\\|b \\*c\\* \\<d\\> \ufffd\\[31m"
    assert markdown_text("snake_case _x_") == "snake_case \\_x\\_"
