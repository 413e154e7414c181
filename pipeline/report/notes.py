"""The sentences of a report about the certainty of its answer."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.analysis.importance import Importance
from pipeline.analysis.paired import ENOUGH_DF, FEW_DF
from pipeline.analysis.result import Evidence, SweepAnalysis, TestGap
from pipeline.report.captions import CHOSEN_BY
from pipeline.report.formatting import percent, points
from pipeline.report.labels import label
from pipeline.report.sentences import missing_results
from pipeline.report.suggestions import next_step

DOMINATED = 0.8  # share of the variance in the worst quarter of cells that causes a warning
FEW_CELLS = 0.5  # share of tried cells below which a warning is due
CONCENTRATED = 0.6  # share of trials in one quarter of an interval that causes a warning
VISIBLE = 0.0005  # a difference that changes the printed percentage
NAMED = 5  # values or pairs of values that the sentence about importance lists


def all_notes(found: SweepAnalysis) -> list[str]:
    """Every sentence below the answer, in the order of the report."""
    step = next_step(found)
    return [*warnings(found), *(step.sentences if step else ()), *evidence_notes(found)]


def warnings(found: SweepAnalysis) -> list[str]:
    """Missing results, and reasons to doubt the answer."""
    return [*missing_results(found), *_limits(found)]


def evidence_notes(found: SweepAnalysis) -> list[str]:
    """What supports the answer, and which values matter."""
    if found.evidence is None or found.chosen is None:
        return []
    return [*_choice(found, found.evidence), *_importance(found.evidence)]


def _limits(found: SweepAnalysis) -> Iterator[str]:
    if found.evidence_problem:
        yield f"The models cannot be compared: {found.evidence_problem}."
    if found.select_by != "val_acc" and found.evidence is not None:
        yield (
            f"The best epoch and the best model are chosen by the {CHOSEN_BY[found.select_by]}. "
            "The intervals, tests, charts and importance describe the validation accuracy in that "
            "epoch. The validation accuracy is not corrected for the choice."
        )
    if found.chosen is not None and found.num_lost_seeds:
        yield (
            f"Runs of the best configuration that diverged or failed: {found.num_lost_seeds}. Its "
            "accuracy describes the other seeds only. Every other configuration lost a seed, too."
        )
    if found.evidence is not None and found.evidence.num_incomplete:
        yield (
            f"Configurations that lost a seed: {found.evidence.num_incomplete}. A run of each "
            "diverged or failed, so they come after all others and are not compared."
        )
    if found.evidence is not None and found.evidence.num_duplicates:
        yield (
            f"Jobs that repeat the values of another job: {found.evidence.num_duplicates}. The "
            "statistics count each model once."
        )
    if found.halted:
        rungs = ", ".join(f"{n} after epoch {epoch}" for epoch, n in found.halted.items())
        yield (
            f"Halted jobs ({rungs}) are not compared with jobs that trained to their end. They "
            "count as candidates in the correction of the validation accuracy."
        )
    if found.chosen is not None and found.chosen.problem and found.chosen.best.test_acc is not None:
        yield f"There are no diagnostics of the chosen model: {found.chosen.problem}."
    if len(found.test_reads) > 1:
        yield (
            f"The test accuracy was measured for {len(found.test_reads)} models of this sweep "
            f"({'; '.join(found.test_reads)}), each time for the best one so far. The last figure "
            "is therefore not free of selection."
        )


def _choice(found: SweepAnalysis, evidence: Evidence) -> Iterator[str]:
    assert found.chosen is not None
    estimate = evidence.estimate
    if estimate.num_seeds > 1:
        yield (
            f"The choice uses the mean over {estimate.num_seeds} seeds: {percent(estimate.raw)} "
            f"for the best configuration, with a standard deviation of {100 * estimate.std:.1f} "
            "points over its seeds. The best model is the best run of this configuration. Its "
            f"validation accuracy is {percent(found.chosen.best.val_acc)}, and the test accuracy "
            "is that of this one run."
        )
        sizes = evidence.configurations["n"]
        if (sizes - 1).sum() < ENOUGH_DF:
            yield (
                "So few seeds say little about the variation over seeds. The 95 % interval is wide "
                "for this reason, and more seeds would make it narrower."
            )
    if len(evidence.configurations) > 1:
        yield from _tests(evidence)
    if estimate.optimism >= VISIBLE:
        yield (
            f"The best of {estimate.num_candidates} configurations owes a part of its accuracy to "
            f"luck: about {100 * estimate.optimism:.1f} points, as a bootstrap of the choice "
            f"shows. The corrected validation accuracy is {percent(estimate.corrected)}."
        )
    exceeds = ""
    if found.epoch_optimism is not None:
        exceeds = (
            "The accuracy of the best model in this epoch is "
            f"{_distance(found.epoch_optimism)} the mean of the four epochs around it. "
        )
    subject, figures = "Each model", "The validation accuracies are"
    if len(found.jobs) == 1:
        subject, figures = "The model", "The validation accuracy is"
    yield (
        f"{subject} is judged in its best epoch, which was chosen on the same validation "
        f"examples. {exceeds}{figures} not corrected for this choice."
    )
    if found.test_gap is not None:
        corrected = estimate.num_candidates > 1 and found.select_by == "val_acc"
        yield _gap(found.test_gap, "corrected validation" if corrected else "validation")


def _tests(evidence: Evidence) -> Iterator[str]:
    """How configurations are compared, and the cheapest one that could be the best."""
    table, members = evidence.configurations, evidence.confidence.members
    over_seeds = (table["n"] > 1).any()
    test = "a t test over seeds and examples" if over_seeds else "McNemar's exact test"
    yield (
        "Each other configuration is compared with the best one on the same validation examples, "
        f"by {test}. All comparisons together have an error rate of at most 5 %. This takes into "
        "account that the best configuration was chosen on the same examples."
    )
    if over_seeds and table["df"].min() < FEW_DF:
        yield (
            "With so few runs, the variation over seeds is hardly known, and only large "
            "differences are significant. More seeds would show smaller ones."
        )
    cost = table["cost"]
    could_be_best = table["configuration"].isin(members)
    cheapest = table[could_be_best & (cost == cost[could_be_best].min())]
    if cheapest["cost"].iloc[0] < cost.iloc[0]:
        first = cheapest[cheapest["configuration"] == evidence.confidence.cheapest].iloc[0]
        others = len(cheapest) - 1
        same = f" The cost of {others} {'other' if others == 1 else 'others'} is the same."
        yield (
            "The cheapest configuration that cannot be distinguished from the best one is "
            f"{label(first.to_dict(), evidence.swept)}. It needs {first['cost']:,} multiply-adds "
            f"per prediction, and the best one {cost.iloc[0]:,}.{same if others else ''}"
        )


def _gap(gap: TestGap, validation: str) -> str:
    interval = f"95 % interval of the difference {points(gap.low)} to {points(gap.high)} points"
    difference = f"The {validation} accuracy is {_distance(gap.difference)} the test accuracy"
    if gap.low > 0:
        reason = (
            "This is more than chance: the choice of models and epochs has adapted to the "
            "validation examples, or these are easier"
        )
    elif gap.high < 0:
        reason = "This is more than chance: the test examples are easier"
    else:
        reason = "Chance alone can explain this difference"
    return f"{difference} ({interval}). {reason}."


def _distance(difference: float) -> str:
    """A difference of shares in words: 0.3 points above, or equal to."""
    if abs(difference) < VISIBLE:
        return "equal to"
    return f"{100 * abs(difference):.1f} points {'above' if difference >= 0 else 'below'}"


def _importance(evidence: Evidence) -> Iterator[str]:
    found, log = evidence.importance, evidence.log_importance
    if not len(found.shares) or len(evidence.swept) < 2:  # a single value explains everything
        return
    epoch = evidence.importance_epoch
    after = f" up to epoch {epoch}" if epoch else ""
    how = "" if found.method == "exact" else " A random forest predicts the untried combinations."
    yield (
        f"Importance{after} (functional ANOVA): the share of the variation between the models that "
        f"a hyperparameter, or a pair of them, explains.{how} For the logarithm of the error: "
        f"{_shares(log)}. For the accuracy: {_shares(found)}."
    )
    if found.worst_quarter > DOMINATED:
        yield (
            f"The worst quarter of the combinations causes {percent(found.worst_quarter)} of the "
            "variance of the accuracy. The importance for the accuracy therefore shows which "
            "values to avoid. It does not show which values separate the good models."
        )
    if found.tried < FEW_CELLS and not evidence.concentration:
        yield (
            f"Only {percent(found.tried)} of the combinations of the grid have a finished model. "
            "The importance relies on predictions for the others."
        )
    if evidence.concentration > CONCENTRATED:
        yield (
            f"The sampler placed {percent(evidence.concentration)} of its trials in one quarter of "
            "an interval, so the importance says little about the rest of that interval."
        )


def _shares(found: Importance) -> str:
    """The largest shares; those that would be printed as 0 are left out."""
    named = found.shares.head(NAMED)
    shown = named[named["share"] >= VISIBLE]
    return ", ".join(
        f"{' × '.join(names)} {percent(share)}"
        for names, share in (shown if len(shown) else named[:1]).itertuples(index=False)
    )
