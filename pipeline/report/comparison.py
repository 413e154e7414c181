"""Two sweeps side by side."""

from __future__ import annotations

from pipeline.analysis.result import SweepAnalysis, SweepComparison
from pipeline.report.formatting import points, show
from pipeline.report.labels import run_label
from pipeline.report.sentences import job_counts, test_accuracy, validation_accuracy


def verdict(comparison: SweepComparison) -> str:
    """Which of two sweeps has the better model."""
    if comparison.same_run:
        return "Both sweeps chose the same run."
    if comparison.problem:
        return f"The chosen models cannot be compared: {comparison.problem}."
    models = comparison.models
    if models is None:
        return "One of the two sweeps has no model to compare."
    ahead = max(models, key=lambda model: model.difference)
    leading = comparison.first if ahead is models[0] else comparison.second
    lead = (
        f"On the same validation examples, the accuracy of {leading.sweep.name} is "
        f"{100 * ahead.difference:.1f} points higher"
    )
    if ahead.num_candidates > 1:
        lead += (
            f". Corrected for its choice among {ahead.num_candidates} models, the difference is "
            f"{points(ahead.corrected)} points"
        )
    interval = f"95 % interval {points(ahead.low)} to {points(ahead.high)}"
    lead += f" ({interval}, p = {comparison.p_value:.2g})."
    if comparison.better is None:
        return (
            f"The chosen models cannot be distinguished. {lead} To detect a difference of one "
            f"point, about {ahead.images_for_one_point:,} validation examples are needed."
        )
    return f"The chosen model of {comparison.better.sweep.name} is better. {lead}"


def side_by_side(comparison: SweepComparison) -> list[tuple[str, str, str]]:
    """The most important facts of two sweeps: a name, the first sweep, the second sweep."""
    first, second = _summary(comparison.first), _summary(comparison.second)
    return [(name, text, second[name]) for name, text in first.items()]


def _summary(found: SweepAnalysis) -> dict[str, str]:
    evidence, chosen = found.evidence, found.chosen
    tied, important, digest = "–", "–", found.jobs["dataset_digest"].dropna()
    if evidence is not None:
        others = len(evidence.confidence.table) - 1
        tied = f"{len(evidence.confidence.members) - 1} of {others} other finished configurations"
        names = evidence.importance.shares["values"].tolist()
        important = " × ".join(names[0]) if names else "–"
    return {
        "Jobs": job_counts(found),
        "Best model": run_label(found.jobs.iloc[0], found.jobs) if chosen else "–",
        "Validation accuracy": validation_accuracy(found) if chosen else "–",
        "Test accuracy": test_accuracy(found) if chosen else "–",
        "Cannot be distinguished": tied,
        "Most important": important,
        "Dataset digest": show(digest.iloc[0]) if len(digest) else "–",
        "Command": found.sweep.command,
    }
