"""Numbers and texts as a reader sees them."""

from __future__ import annotations

import re
from typing import Any
from unicodedata import category

import pandas as pd
from markupsafe import Markup

from pipeline.analysis.heatmap import Level, Span
from pipeline.config import short

INVISIBLE = ("Cc", "Cf", "Cs")  # Unicode categories: control, format and surrogate characters
FORMULA = ("=", "+", "-", "@")  # a spreadsheet evaluates cells that begin with these


def show(value: Any) -> str:
    """A value: 0.3, 1e-4, 128, true, or a text; an en dash if it is missing."""
    if pd.isna(value):
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return short(value) if isinstance(value, float) else str(value)


def rounded(value: Any) -> Any:
    """A value with three digits if it is a float."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def axis(level: Level) -> str:
    """A position on an axis of a heatmap."""
    if isinstance(level, Span):
        return "–".join(show(float(f"{end:.2g}")) for end in level)
    return show(rounded(level))


def percent(share: float) -> str:
    """A share as 97.2 %."""
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """A difference of shares as +0.3, in percentage points."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}"


def duration(seconds: float) -> str:
    """A time as < 0.1 s, 4.2 s, 3 min 20 s or 2 h 5 min."""
    if round(seconds, 1) < 0.1:
        return "< 0.1 s"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60} s"
    return f"{minutes // 60} h {minutes % 60} min"


def one_line(text: Any) -> str:
    """A text with each run of white space replaced by one space."""
    return " ".join(str(text).split())


def visible(value: Any) -> Any:
    """Replace characters that control a terminal, change the direction of text, or are invalid."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if category(letter) in INVISIBLE and letter not in "\n\t"
        else letter
        for letter in value
    )


def markdown_text(text: str) -> str:
    """A text for one line of Markdown, with all markup escaped."""
    markup = r"[\\`*\[\]<>|~&]|(?<![^\W_])_|_(?![^\W_])"  # `_` inside a word is not markup
    return re.sub(rf"({markup})", r"\\\1", visible(one_line(text)))


def csv_text(value: Any) -> Any:
    """A cell of a CSV file: an apostrophe precedes a text that a spreadsheet would evaluate."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
