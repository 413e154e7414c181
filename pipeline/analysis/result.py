"""The result of analysing a sweep: numbers only. `pipeline.report` turns them into sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from pipeline.analysis.comparison import ModelComparison
from pipeline.analysis.confidence import ALPHA, ConfidenceSet
from pipeline.analysis.correction import Estimate
from pipeline.analysis.curves import LearningCurve
from pipeline.analysis.diagnostics import Diagnostics
from pipeline.analysis.edges import Edge
from pipeline.analysis.ensemble import Ensemble
from pipeline.analysis.evaluation import ChosenModel
from pipeline.analysis.features import Features
from pipeline.analysis.heatmap import Heatmap
from pipeline.analysis.importance import Importance
from pipeline.analysis.resources import SweepResources
from pipeline.outcomes import Outcome
from pipeline.selection import SelectBy
from pipeline.tracking.entities import Sweep


class TestGap(NamedTuple):
    """The corrected validation accuracy of the chosen model minus its test accuracy."""

    difference: float
    low: float  # 95 % interval
    high: float


@dataclass(frozen=True)
class Evidence:
    """The statistics of the finished and halted runs of a sweep."""

    confidence: ConfidenceSet
    estimate: Estimate
    importance: Importance  # of the accuracy
    log_importance: Importance  # of the logarithm of the error, the scale of the heatmaps
    concentration: float  # the share of models in the densest quarter of a searched value
    importance_epoch: int | None  # the epoch that it describes; None: the best epoch of each run
    comparable: pd.DataFrame  # the runs with their accuracy at that epoch
    edges: Sequence[Edge]
    num_duplicates: int  # jobs that repeat another one; each pair counts once
    num_incomplete: (
        int  # configurations that are left out, because one of their seeds has no result
    )
    swept: Sequence[str]  # the hyperparameters in which the runs differ, without the seed
    # The table of the confidence set, with the columns of `swept`, and `group`: chosen, tied (a
    # member of the set) or other.
    configurations: pd.DataFrame
    front: pd.DataFrame  # the configurations that no other beats in both cost and accuracy


@dataclass(frozen=True)
class SweepAnalysis:
    """Everything that a report says about a sweep."""

    sweep: Sweep
    jobs: pd.DataFrame  # `tabulate`; the finished runs first, in the order of `rank`
    select_by: SelectBy  # the metric that decided
    counts: Mapping[Outcome, int]
    not_started: int  # planned jobs without a run
    chosen: ChosenModel | None
    evidence: Evidence | None
    evidence_problem: str | None  # the reason why there is no evidence although there is a choice
    diagnostics: Diagnostics | None
    test_gap: TestGap | None  # None: not both are known, or the choice uses several seeds
    num_lost_seeds: int  # runs of the chosen configuration that diverged or failed
    resources: SweepResources
    store_uri: str  # without a password
    weights: str | None  # the location of the weights of the chosen model
    features: Features | None  # of a chosen model whose rows are no images
    curves: Sequence[LearningCurve]
    heatmap: Heatmap | None  # of a grid; with halted runs, at the epoch of the importance
    halted: Mapping[int, int]  # epoch of a rung → number of jobs that were halted there
    test_reads: Sequence[str]  # names of the runs whose test accuracy this sweep measured
    # Validation accuracy of the chosen model in its best epoch minus the mean of the epochs around.
    epoch_optimism: float | None
    ensemble: Ensemble | None  # of the finished models; None if there are fewer than two
    ensemble_problem: str | None  # the reason why there is no ensemble although there are two


@dataclass(frozen=True)
class SweepComparison:
    """Two sweeps, and their chosen models against each other."""

    first: SweepAnalysis
    second: SweepAnalysis
    # The first chosen model against the second one, corrected for the choice in the first sweep,
    # and the other way round.
    models: tuple[ModelComparison, ModelComparison] | None
    problem: str | None  # the reason why the models are not compared
    same_run: bool = False  # whether both chose the same run

    @property
    def p_value(self) -> float:
        """Two-sided, corrected for the choice of the model that has the higher accuracy."""
        assert self.models is not None
        return min(1.0, 2 * min(model.p_value for model in self.models))

    @property
    def better(self) -> SweepAnalysis | None:
        """The sweep whose chosen model is significantly better, if there is one."""
        if self.models is None or self.p_value > ALPHA:
            return None
        return self.first if self.models[0].difference > 0 else self.second
