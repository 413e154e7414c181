"""The sentences of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.analysis.importance import Importance
from pipeline.analysis.result import Evidence, SweepAnalysis
from pipeline.outcomes import Outcome
from pipeline.report.formatting import one_line, percent, show
from pipeline.report.labels import label, shown_names, symbol
from pipeline.report.suggestions import edge_sentence, next_command
from pipeline.selection import SelectBy

LISTED = 5  # failed jobs that are named one by one
DOMINATED = 0.8  # share of the variance in the worst quarter of cells that causes a warning
FEW_CELLS = 0.5  # share of tried cells below which a warning is due
CONCENTRATED = 0.6  # share of trials in one quarter of an interval that causes a warning
VISIBLE = 0.0005  # a difference that changes the printed percentage
RULES: Mapping[SelectBy, tuple[str, str]] = {  # the metric of the choice, and the one of ties
    "val_acc": ("highest validation accuracy", "lower validation loss"),
    "val_loss": ("lowest validation loss", "higher validation accuracy"),
    "balanced_acc": ("highest balanced accuracy", "lower validation loss"),
}
NAMED = 5  # values or pairs of values that the sentence about importance lists


def answer(found: SweepAnalysis) -> tuple[str, ...]:
    """The chosen model, its validation accuracy and its test accuracy, a line each."""
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
    )


def _chosen_by(found: SweepAnalysis) -> Iterator[str]:
    """The metric of the choice, unless it is the validation accuracy."""
    assert found.chosen is not None
    best = found.chosen.best
    if found.select_by == "val_loss":
        yield f"Validation loss: {best.val_loss:.4f} (the metric of the choice)"
    if found.select_by == "balanced_acc" and best.balanced_acc is not None:
        yield f"Balanced accuracy: {percent(best.balanced_acc)} (the metric of the choice)"


def validation_accuracy(found: SweepAnalysis) -> str:
    """The validation accuracy of the chosen configuration, with its interval."""
    assert found.chosen is not None
    best, evidence = found.chosen.best, found.evidence
    if evidence is None:
        low, high = best.val_acc_ci95
        return f"{percent(best.val_acc)} (95 % interval {percent(low)} to {percent(high)})"
    estimate = evidence.estimate
    seeds = f"mean over {estimate.num_seeds} seeds, " if estimate.num_seeds > 1 else ""
    interval = f"95 % interval {percent(estimate.low)} to {percent(estimate.high)}"
    if estimate.num_candidates == 1 or found.select_by != "val_acc":
        return f"{percent(estimate.raw)} ({seeds}{interval}, {best.num_val:,} examples)"
    return (
        f"{percent(estimate.corrected)} ({seeds}{interval}; corrected for the choice among "
        f"{estimate.num_candidates}; {percent(estimate.raw)} measured on {best.num_val:,} examples)"
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
    for name, error in failed[["name", "error"]].head(LISTED).itertuples(index=False):
        yield f"{name} failed: {one_line(error)}"
    if len(failed) > LISTED:
        yield f"… and {len(failed) - LISTED} more failed"
    count = found.counts[Outcome.FAILED] + found.counts[Outcome.UNFINISHED] + found.not_started
    if count:
        yield (
            f"{count} of {len(found.jobs) + found.not_started} jobs have no result; to train only "
            f"these, run the same command again: {found.sweep.command}"
        )


def all_notes(found: SweepAnalysis) -> list[str]:
    """The sentences below the answer: missing results, then everything about the choice."""
    return [*missing_results(found), *notes(found)]


def notes(found: SweepAnalysis) -> Iterator[str]:
    """Sentences about the certainty of the choice, the importance of values and the next step."""
    if found.halted:
        rungs = ", ".join(f"{n} after epoch {epoch}" for epoch, n in found.halted.items())
        yield f"Halted jobs ({rungs}) are not compared with jobs that trained to their end."
    if found.select_by != "val_acc" and found.evidence is not None:
        name = "validation loss" if found.select_by == "val_loss" else "balanced accuracy"
        yield (
            f"The best epoch and the best model are chosen by the {name}. Intervals, tests and "
            "importance are those of the validation accuracy, without a correction for the choice."
        )
    if found.evidence_problem:
        yield f"The models cannot be compared: {found.evidence_problem}."
    if found.evidence is not None:
        yield from _choice_notes(found, found.evidence)
        yield from _importance_notes(found.evidence)
        yield from map(edge_sentence, found.evidence.edges)
        if command := next_command(found, found.evidence):
            yield f"Next step: {command}"
    if found.chosen is not None and found.chosen.problem and found.chosen.best.test_acc is not None:
        yield f"There are no diagnostics of the chosen model: {found.chosen.problem}."
    if len(found.test_reads) > 1:
        yield (
            f"The test accuracy was measured for {len(found.test_reads)} models of this sweep "
            f"({'; '.join(found.test_reads)}), each time for the best one so far. The last figure "
            "is therefore not free of selection."
        )


def _choice_notes(found: SweepAnalysis, evidence: Evidence) -> Iterator[str]:
    assert found.chosen is not None
    confidence, estimate = evidence.confidence, evidence.estimate
    others = len(confidence.table) - 1
    if estimate.num_seeds > 1:
        yield (
            f"The choice uses the mean over {estimate.num_seeds} seeds, {percent(estimate.raw)} "
            f"with standard deviation {percent(estimate.std)}. The model comes from the best seed, "
            f"whose validation accuracy is {percent(found.chosen.best.val_acc)}; the test accuracy "
            "is measured for this one model."
        )
    if others:
        tied = len(confidence.members) - 1
        test = "(paired tests on the same validation examples, Holm's correction, 5 % level)"
        if tied:
            table = evidence.configurations
            row = table[table["configuration"] == confidence.cheapest].iloc[0]
            cheapest = f"A cheaper one of these is {label(row.to_dict(), evidence.swept)}."
            cheaper = row["cost"] < table["cost"].iloc[0]
            yield (
                f"{tied} of the other {others} configurations cannot be distinguished from it "
                f"{test}.{' ' + cheapest if cheaper else ''}"
                if others > 1
                else f"The other configuration cannot be distinguished from it {test}."
            )
        else:
            every = (
                "the other configuration" if others == 1 else f"all other {others} configurations"
            )
            yield f"It is significantly better than {every} {test}."
    if estimate.optimism >= VISIBLE:
        yield (
            f"Picking the best of {estimate.num_candidates} inflates its accuracy; the "
            f"bias-corrected estimate is {percent(estimate.corrected)} (bootstrap of the choice)."
        )
    if found.epoch_optimism is not None:
        yield (
            "The best epoch of each model is chosen on the same validation examples. For the best "
            f"model it exceeds the epochs around it by {100 * found.epoch_optimism:.1f} points. "
            "The estimates do not correct this."
        )


def _importance_notes(evidence: Evidence) -> Iterator[str]:
    found, log = evidence.importance, evidence.log_importance
    if not len(found.shares):
        return
    epoch = evidence.importance_epoch
    after = f" after epoch {epoch}" if epoch else ""
    how = "" if found.method == "exact" else ", missing cells predicted by a random forest"
    yield (
        f"Hyperparameter importance{after}, as shares of the variance of the logarithm of the "
        f"error (functional ANOVA{how}): {_shares(log)}. Of the variance of accuracy: "
        f"{_shares(found)}."
    )
    if found.worst_quarter > DOMINATED:
        yield (
            f"The worst quarter of the grid has {percent(found.worst_quarter)} of the variance of "
            "accuracy. The importance therefore describes what to avoid, not what separates the "
            "good models."
        )
    if found.tried < FEW_CELLS and not evidence.concentration:
        yield (
            f"Only {percent(found.tried)} of the grid has a finished model; the rest of the "
            "importance is predicted."
        )
    if evidence.concentration > CONCENTRATED:
        yield (
            f"The sampler placed {percent(evidence.concentration)} of its trials in one quarter of "
            "an interval. The importance describes the rest of the interval poorly."
        )


def _shares(found: Importance) -> str:
    return ", ".join(
        f"{' × '.join(names)} {percent(share)}"
        for names, share in found.shares.head(NAMED).itertuples(index=False)
    )
