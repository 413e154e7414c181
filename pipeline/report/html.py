"""The report as one HTML page that loads nothing else."""

from __future__ import annotations

import base64
import hashlib
import math
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from pipeline.analysis.heatmap import Cell
from pipeline.analysis.result import Evidence, SweepAnalysis, SweepComparison
from pipeline.report import captions, notes, sentences
from pipeline.report.charts.canvas import GROUPS
from pipeline.report.comparison import side_by_side, verdict
from pipeline.report.drawings import Drawings
from pipeline.report.ensemble import ensemble_notes, ensemble_tables
from pipeline.report.formatting import axis, percent, show, visible
from pipeline.report.labels import symbol
from pipeline.report.markdown import figures, links, settings
from pipeline.report.model_tables import WIDE, confusions_table, feature_tables
from pipeline.report.suggestions import next_step
from pipeline.report.tables import configuration_table, outcome_tables

FOLDER = Path(__file__).parent
MIN_SHARE = 0.001  # of a bar of the importances
MAX_BARS = 8


def html(found: SweepAnalysis, comparison: SweepComparison | None, drawings: Drawings) -> str:
    """The report as one page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=visible,
    )
    environment.filters |= {"axis": axis, "percent": percent, "show": show, "style": cell_style}
    environment.filters |= {"confusion_shade": confusion_shade, "symbol": symbol}
    classes = found.chosen.data.classes if found.chosen and found.chosen.data else ()
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    evidence = found.evidence
    several = evidence is not None and len(evidence.configurations) > 1
    return environment.get_template("report.html.j2").render(
        found=found,
        captions=captions,
        sweep=found.sweep.name,
        answer=sentences.answer(found),
        warnings=notes.warnings(found),
        step=next_step(found),
        evidence_notes=notes.evidence_notes(found),
        comparison=_comparison(comparison) if comparison else None,
        chosen=found.chosen,
        diagnostics=found.diagnostics,
        figures=figures(found.diagnostics, classes) if found.diagnostics else [],
        confusions=confusions_table(found.diagnostics, classes)
        if found.diagnostics and len(classes) > WIDE
        else None,
        feature_tables=feature_tables(found.features) if found.features else [],
        heatmap=found.heatmap,
        importance=importance_bars(evidence) if evidence else [],
        configurations=configuration_table(found, evidence) if evidence and several else None,
        tables=outcome_tables(found),
        **_ensemble(found),
        settings=settings(found),
        links=links(found),
        rule=sentences.RULES[found.select_by][0],
        tie_break=sentences.RULES[found.select_by][1],
        drawings=drawings,
        group_colours={group: style[0] for group, style in GROUPS.items()},
        script=script,
        script_hash=f"sha256-{digest}",
    )


def _comparison(comparison: SweepComparison) -> dict[str, Any]:
    return {
        "sweep": comparison.second.sweep.name,
        "verdict": verdict(comparison),
        "rows": side_by_side(comparison),
    }


def _ensemble(found: SweepAnalysis) -> dict[str, Any]:
    tables = ensemble_tables(found)
    return {
        "ensemble_notes": list(ensemble_notes(found)),
        "ensemble_table": tables[0] if tables else None,
        "member_table": tables[1] if tables else None,
    }


def importance_bars(evidence: Evidence) -> list[tuple[str, float]]:
    """The shares of the variance of the log error, the largest first, as names and shares.

    Of a single value there are none, because it explains everything.
    """
    if len(evidence.swept) < 2:
        return []
    shares = evidence.log_importance.shares
    bars = [(" × ".join(names), share) for names, share in shares.itertuples(index=False)]
    bars = [bar for bar in bars if bar[1] >= MIN_SHARE][:MAX_BARS]
    rest = 1 - sum(share for _, share in bars)
    return [*bars, ("all others", rest)] if bars and rest >= MIN_SHARE else bars


def cell_style(cell: Cell) -> str:
    """The colours of a cell of a heatmap: darker is better, and the text stays readable."""
    red, green, blue, _ = map(float, colormaps["Blues"](0.05 + 0.8 * cell.shade))
    rgb = red, green, blue
    return f"background: {to_hex(rgb)}; color: {_ink(rgb)}"


def confusion_shade(count: int, largest: int) -> str:
    """The opacity of a cell of the confusion matrix.

    The square root makes the few mistakes visible among the many correct predictions.
    """
    return f"{0.75 * math.sqrt(count / largest):.2f}"


def _ink(colour: tuple[float, float, float]) -> str:
    """Black or white, whichever has the higher contrast to a colour (RGB from 0 to 1; WCAG 2.1)."""
    rgb = np.array(colour)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return "#000" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#fff"
