"""Studies: which trials come next."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.search.sampling import Search
from pipeline.search.study import Study, TrialResult

optuna = pytest.importorskip("optuna")
SPACE = {"learning_rate": optuna.distributions.FloatDistribution(0.01, 1.0)}


def open_study(storage: str | None, n_trials: int = 5) -> Study:
    return Study(Search(SPACE, {}, "random", 0, n_trials, batch_size=3), "study", storage)


def test_a_batch_without_results_is_returned_again() -> None:
    study = open_study(None)
    first = [trial.params for trial in study.next_trials(after=0)]
    assert len(first) == 3
    assert [trial.params for trial in study.next_trials(after=0)] == first


def test_a_batch_that_was_drawn_in_part_is_completed(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    whole = [trial.params for trial in open_study(None).next_trials(after=0)]
    study = open_study(storage)
    optuna.load_study(study_name="study", storage=storage).ask()  # then the process died
    assert [trial.params for trial in study.next_trials(after=0)] == whole


def test_the_last_batch_ends_with_the_number_of_trials() -> None:
    study, done = open_study(None), 0
    sizes = []
    while trials := study.next_trials(after=done):
        for trial in trials:
            study.tell(trial, TrialResult(0.5))
        done += len(trials)
        sizes.append(len(trials))
    assert sizes == [3, 2]


def test_a_study_of_another_program_is_refused(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    other = optuna.create_study(study_name="study", storage=storage, direction="maximize")
    other.add_trial(optuna.trial.create_trial(value=0.5))
    with pytest.raises(PipelineError, match="study study was started with other settings"):
        open_study(storage)
