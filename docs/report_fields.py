"""Writes docs/report-fields.md from the schema of report.json: python docs/report_fields.py."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.paths import ROOT

PATH = Path(__file__).with_name("report-fields.md")
SCHEMA = ROOT / "pipeline" / "report" / "report.schema.json"
HEAD = """\
# Fields of report.json

`make schema` writes this page from `pipeline/report/report.schema.json`, the JSON Schema of
`report.json`. `a.b` is the field `b` of the object `a`, and `a[].b` is the field `b` of each
element of the list `a`. Accuracies and differences are shares between 0 and 1. Times are UTC, as in
`2026-01-31T12:00:00.000Z`. A missing or infinite number is null.

`report.csv` has the fields of `runs[]` as columns, and `configurations.csv` those of
`evidence.configurations[]` with a column for each swept hyperparameter. In both, a missing value is
an empty cell, and an apostrophe precedes a text that a spreadsheet would take for a formula.

| Field | Type | Meaning |
|---|---|---|
"""
NAMES = {"string": "text", "integer": "whole number", "array": "list"}


def text() -> str:
    """The content of docs/report-fields.md."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    rows = (f"| `{path}` | {kind} | {meaning} |" for path, kind, meaning in _rows(schema, ""))
    return HEAD + "\n".join(rows) + "\n"


def _rows(schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    for key, value in schema.get("properties", {}).items():
        yield prefix + key, _type(value), value.get("description", "").replace("|", "\\|")
        for part in (value, *value.get("anyOf", ())):
            yield from _rows(part, f"{prefix}{key}.")
            yield from _rows(part.get("items", {}), f"{prefix}{key}[].")
    other = schema.get("additionalProperties")
    if isinstance(other, dict) and "description" in other:
        yield f"{prefix}…", _type(other), other["description"]


def _type(value: Mapping[str, Any]) -> str:
    if "enum" in value:
        return ", ".join(name or '""' for name in value["enum"])
    if "const" in value:
        return str(value["const"])
    if "anyOf" in value:
        return " or ".join(_type(part) for part in reversed(value["anyOf"]))
    kinds = value.get("type", "any value")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return " or ".join(NAMES.get(kind, kind) for kind in kinds)


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
