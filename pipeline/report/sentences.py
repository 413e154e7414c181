"""The answer of a report: the chosen model, its accuracies, and the results that are missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.analysis.result import SweepAnalysis
from pipeline.outcomes import Outcome
from pipeline.report.formatting import one_line, percent, show
from pipeline.report.labels import shown_names, symbol
from pipeline.selection import SelectBy

LISTED = 5  # different errors that are listed
RULES: Mapping[SelectBy, tuple[str, str]] = {  # the metric of the choice, and the one of ties
    "val_acc": ("highest validation accuracy", "lower validation loss"),
    "val_loss": ("lowest validation loss", "higher validation accuracy"),
    "balanced_acc": ("highest balanced accuracy", "lower validation loss"),
}


def answer(found: SweepAnalysis) -> tuple[str, ...]:
    """The chosen model, its accuracies, and how clear the choice is, a line each."""
    if found.chosen is None:
        return (no_choice(found),)
    best = found.chosen.best
    row = found.jobs.iloc[0]
    values = ", ".join(f"{symbol(key)}={show(row[key])}" for key in shown_names(found.jobs))
    return (
        f"Best model: {values}",
        *_chosen_by(found),
        f"Validation accuracy: {validation_accuracy(found)}",
        "Test accuracy: "
        + (f"unknown: {best.test_problem}" if best.test_acc is None else test_accuracy(found)),
        *_separation(found),
    )


def _chosen_by(found: SweepAnalysis) -> Iterator[str]:
    """The metric of the choice, unless it is the validation accuracy."""
    assert found.chosen is not None
    best = found.chosen.best
    if found.select_by == "val_loss":
        yield f"Validation loss: {best.val_loss:.4f} (the metric of the choice)"
    if found.select_by == "balanced_acc" and best.balanced_acc is not None:
        yield f"Balanced accuracy: {percent(best.balanced_acc)} (the metric of the choice)"


def _separation(found: SweepAnalysis) -> Iterator[str]:
    """How many configurations cannot be distinguished from the chosen one."""
    evidence = found.evidence
    if evidence is None or evidence.estimate.num_candidates == 1:
        return
    by = "" if found.select_by == "val_acc" else " by their validation accuracy"
    others, tied = len(evidence.confidence.table) - 1, len(evidence.confidence.members) - 1
    halted = evidence.estimate.num_candidates - 1 - others
    if not others:
        yield f"No other configuration has finished: {halted} {_were(halted)} halted"
        return
    finished = "finished " if halted else ""
    if others == 1:
        what = "cannot be distinguished from the best one" if tied else "is significantly worse"
        line = f"The other {finished}configuration {what}{by}"
    elif tied == others:
        of = f"None of the other {others} {finished}configurations"
        line = f"{of} can be distinguished from the best one{by}"
    elif tied:
        of = f"{tied} of the other {others} {finished}configurations"
        line = f"{of} cannot be distinguished from the best one{by}"
    else:
        line = f"All other {others} {finished}configurations are significantly worse{by}"
    yield line + (f"; {halted} {_were(halted)} halted and not compared" if halted else "")


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def validation_accuracy(found: SweepAnalysis) -> str:
    """The validation accuracy of the chosen configuration, with its interval."""
    assert found.chosen is not None
    best, evidence = found.chosen.best, found.evidence
    if evidence is None:
        low, high = best.val_acc_ci95
        interval = f"95 % interval {percent(low)} to {percent(high)}"
        raw = "" if found.counts[Outcome.FINISHED] == 1 else "; not corrected for the choice"
        return f"{percent(best.val_acc)} ({interval}, {best.num_val:,} examples{raw})"
    estimate = evidence.estimate
    seeds = f"mean over {estimate.num_seeds} seeds, " if estimate.num_seeds > 1 else ""
    interval = f"95 % interval {percent(estimate.low)} to {percent(estimate.high)}"
    if estimate.num_candidates == 1 or found.select_by != "val_acc":
        raw = "" if estimate.num_candidates == 1 else "; not corrected for the choice"
        return f"{percent(estimate.raw)} ({seeds}{interval}, {best.num_val:,} examples{raw})"
    return (
        f"{percent(estimate.corrected)} ({seeds}{interval}; corrected for the choice among "
        f"{estimate.num_candidates} configurations; {percent(estimate.raw)} measured on "
        f"{best.num_val:,} examples)"
    )


def test_accuracy(found: SweepAnalysis) -> str:
    """The test accuracy of the chosen model, with its interval."""
    assert found.chosen is not None
    best = found.chosen.best
    if best.test_acc is None:
        return "–"
    if best.test_acc_ci95 is None:
        return percent(best.test_acc)
    low, high = best.test_acc_ci95
    interval = f"95 % interval {percent(low)} to {percent(high)}"
    return f"{percent(best.test_acc)} ({interval}, {best.num_test:,} examples)"


def job_counts(found: SweepAnalysis) -> str:
    """How many jobs there are, and how many ended with each outcome."""
    count = len(found.jobs)
    of = f" of {count + found.not_started}" if found.not_started else ""
    parts = ", ".join(f"{n} {outcome}" for outcome, n in found.counts.items() if n)
    return f"{count}{of} {'job' if count == 1 and not of else 'jobs'}{': ' if parts else ''}{parts}"


def no_choice(found: SweepAnalysis) -> str:
    """The reason why there is no model to choose, and the remedy."""
    jobs = found.jobs
    diverged = jobs[jobs["outcome"] == Outcome.DIVERGED]
    errors = jobs["error"].dropna()
    remedy = "start the sweep again"
    if len(diverged):
        smallest = show(diverged["learning_rate"].min())
        remedy = f"lower learning_rate (the smallest that diverged was {smallest}) or l2_reg"
    elif len(errors):
        remedy = f"the first error was: {one_line(errors.iloc[0])}"
    return f"No model to choose ({job_counts(found)}): {remedy}"


def missing_results(found: SweepAnalysis) -> Iterator[str]:
    """The jobs without a result, the reasons, and the command that trains only these."""
    failed = found.jobs[found.jobs["outcome"] == Outcome.FAILED]
    errors = failed.assign(error=failed["error"].map(one_line)).groupby("error", sort=False)["name"]
    for number, (error, names) in enumerate(errors):
        if number < LISTED:
            yield f"{names.iloc[0] if len(names) == 1 else f'{len(names)} jobs'} failed: {error}"
    if errors.ngroups > LISTED:
        shown = sum(len(names) for _, (_, names) in zip(range(LISTED), errors, strict=False))
        yield f"… and {len(failed) - shown} more failed"
    count = found.counts[Outcome.FAILED] + found.counts[Outcome.UNFINISHED] + found.not_started
    if count:
        yield (
            f"{count} of {len(found.jobs) + found.not_started} jobs have no result; to train only "
            f"these, run the same command again: {found.sweep.command}"
        )
