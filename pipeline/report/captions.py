"""The captions of a report's charts and tables. Each states only what holds for its sweep."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.analysis.curves import NUM_BEST
from pipeline.analysis.heatmap import Heatmap, Span, rank_values
from pipeline.analysis.result import Evidence, SweepAnalysis
from pipeline.selection import SelectBy

CHOSEN_BY: dict[SelectBy, str] = {
    "val_loss": "validation loss",
    "balanced_acc": "balanced accuracy",
}
NARROW = 12  # columns of a heatmap above which its cells have no room for percent signs


def heatmap_title(heatmap: Heatmap) -> str:
    """The heading of the heatmaps."""
    return f"{'Validation accuracy' if _has_results(heatmap) else 'Outcomes'} over the grid"


def heatmap_caption(found: SweepAnalysis, heatmap: Heatmap) -> str:
    """The meaning of the cells of the heatmaps."""
    if not _has_results(heatmap):
        return "No job has a result. Each cell shows how its jobs ended."
    return " ".join(_cells(found, heatmap))


def importance_caption(evidence: Evidence) -> str:
    """The meaning of the bars of the importances."""
    after = _until(evidence)
    return (
        "How much of the variation between the models each value explains, alone and together "
        f"with another one: shares of the variance of the logarithm of the error{after}."
    )


def values_caption(found: SweepAnalysis, evidence: Evidence) -> str:
    """The meaning of the charts of single values."""
    metric = _metric(found)
    if found.heatmap is None:
        finished = "finished " if found.halted else ""
        return (
            f"The validation accuracy of each {finished}configuration by its values. The axis is "
            f"the logarithm of the error, on which good models still differ.{metric}"
        )
    others = ", averaged over the values of the others" if len(evidence.swept) > 1 else ""
    known = evidence.importance.marginals["low"].notna().any()
    interval = ", with its 95 % interval" if known else ""
    return (
        f"The mean validation accuracy at each tried value{_until(evidence)}{others}{interval}. "
        "The orange point is the value of the chosen model. The axis is the logarithm of the "
        f"error, as in the heatmap.{metric}"
    )


def configurations_caption(found: SweepAnalysis) -> str:
    """How to read the table of all configurations."""
    baseline = " The last row always predicts the most frequent class." if found.diagnostics else ""
    return (
        "Each configuration is compared with the chosen one on the same validation examples. The "
        "accuracies are not corrected for the choice, and each interval is for its own row. The "
        "last column takes all comparisons into account, so it can be “yes” although the interval "
        "of the difference excludes 0: with at least 95 % probability, every configuration that is "
        f"as good as the best one has a “yes”.{baseline}{_metric(found)}"
    )


def curves_caption(found: SweepAnalysis) -> str:
    """How to read the learning curves."""
    several = (
        f" The number before a model is its rank. At most {NUM_BEST} of the best models are shown, "
        "and a model with nearly the same curves as a better one is left out."
        if len(found.curves) > 1
        else ""
    )
    return (
        "Solid lines: validation, with a mark at the best epoch. Dashed lines: training, the mean "
        "over the mini-batches of an epoch, each measured before the weights were updated with "
        f"it.{several}"
    )


def _has_results(heatmap: Heatmap) -> bool:
    rows = (cells for panel in heatmap.panels for _, cells in panel.rows)
    return any(cell.val_acc is not None for cells in rows for cell in cells)


def _cells(found: SweepAnalysis, heatmap: Heatmap) -> Iterator[str]:
    jobs = found.jobs
    axes = {heatmap.panel_name, heatmap.row_name, heatmap.column_name}
    rows = [level for panel in heatmap.panels for level, _ in panel.rows]
    shares_cells = bool(set(rank_values(jobs, None)) - axes) or any(
        isinstance(level, Span) for level in [*heatmap.columns, *rows]
    )
    seeds = jobs["configuration"].duplicated().any() and jobs["seed"].nunique() > 1
    if shares_cells:
        means = ", each a mean over its seeds" if seeds else ""
        yield f"Each cell shows the highest validation accuracy of the configurations in it{means}."
    else:
        means = ", the mean over its seeds" if seeds else ""
        yield f"Each cell shows the validation accuracy of a configuration{means}."
    epoch = found.evidence.importance_epoch if found.evidence else None
    if epoch is not None:
        yield (
            "Some jobs were halted, so all jobs are compared by their highest accuracy up to epoch "
            f"{epoch}, after which the first ones were halted."
        )
    if len(heatmap.columns) > NARROW:
        yield "The numbers are in percent."
    yield (
        "Darker is better. The shades follow the logarithm of the error, so that good models "
        "differ visibly."
    )
    if found.chosen is not None:
        yield f"The frame marks the chosen model.{_metric(found)}"


def _metric(found: SweepAnalysis) -> str:
    """A sentence if the model was not chosen by the accuracy that the charts show."""
    if found.select_by not in CHOSEN_BY:
        return ""
    return (
        f" The model was chosen by its {CHOSEN_BY[found.select_by]}, so another one may have a "
        "higher validation accuracy."
    )


def _until(evidence: Evidence) -> str:
    epoch = evidence.importance_epoch
    return f" up to epoch {epoch}" if epoch is not None else ""
