"""The Optuna sweeper's work: read the space, ask the study, launch the jobs, tell the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn
from omegaconf import OmegaConf

from hydra_plugins.population._core import check_launch, one_sentence
from hydra_plugins.population._jobs import sweep_folder_errors
from hydra_plugins.population.launcher import PopulationLauncher
from hydra_plugins.search._continuous import TrialSource
from hydra_plugins.search._ledger import Ledger
from hydra_plugins.search._read import checked_jobs, read_search
from hydra_plugins.search._trials import TrialTrainer, jobs, log_state
from pipeline.composed import redacted
from pipeline.config import Job
from pipeline.errors import ConfigError
from pipeline.search.sampling import Search
from pipeline.search.space import bounds, exact_values
from pipeline.search.study import Study
from pipeline.session import current_session

if TYPE_CHECKING:
    from hydra_plugins.population.launcher import OpenJob
    from hydra_plugins.search.sweeper import OptunaSweeper

RESULTS = "optimization_results.yaml"  # the name that Hydra's own sweeper for Optuna uses


def sweep(sweeper: OptunaSweeper, arguments: Sequence[str]) -> list[Sequence[JobReturn]]:
    """Train the trials that the study still lacks; returns the JobReturns of each batch.

    Raises:
        CompactHydraException: a value or a space is wrong, the storage cannot be reached, or a job
            failed; the latter is raised after all other jobs have ended.
    """
    with one_sentence(), sweep_folder_errors():
        search, fixed = read_search(sweeper, arguments)
        return _run(sweeper, search, fixed)


def _run(sweeper: OptunaSweeper, search: Search, fixed: Sequence[str]) -> list[Sequence[JobReturn]]:
    config = sweeper.config
    name = sweeper.study or f"{config.tracking.experiment}-{search.name}"
    trials = Study(search, name, storage=None).next_trials(after=0)
    if not trials:
        raise ConfigError(
            f"no point of the grid satisfies hydra.sweeper.where={sweeper.where!r}: change the "
            "condition"
        )
    params = [trial.params for trial in trials]
    first = jobs(search, fixed, params)
    datasets = check_launch(sweeper.launcher, checked_jobs(sweeper, search, fixed, params))
    ledger = None
    if sweeper.budget is not None:
        size = max(1, len(search.seeds)) if search.continuous else len(first)
        ledger = Ledger(sweeper, first[:size], datasets)
    if isinstance(sweeper.launcher, PopulationLauncher):
        sweeper.launcher.is_continuous = search.continuous
    if OmegaConf.select(config, "hydra.launcher.dry_run"):
        print(f"the first {len(trials)} of {search.count} trials of the study {name}:")
        if search.continuous:
            print("continuous: the next trial starts as soon as one ends, each job on one core")
        if search.pruning is not None:
            print(f"pruning: a trial can stop after epoch {_listed(search.pruning.epochs())}")
        return [sweeper.launcher.launch(first, initial_job_idx=0)]
    folder = Path(config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(redacted(config), folder / "multirun.yaml")
    study = Study(search, name, sweeper.storage)
    session = current_session()
    if session is not None:
        session.start_sweep(search.count * max(1, len(search.seeds)))
        session.note_search(bounds(search.space))
    if search.continuous:
        returns, num_trials = _train_continuously(sweeper, study, fixed, ledger, first[0])
    else:
        trainer = TrialTrainer(sweeper.launcher, study, fixed, ledger)
        num_trials, returns = trainer.train(), trainer.returns
    if ledger is not None and num_trials is not None:
        ledger.report_end(num_trials, search)
    best = study.best()
    if best is not None:
        values = exact_values(best[0], search.space)
        found = {"name": "optuna", "best_evaluated_params": values}
        OmegaConf.save({**found, "best_evaluated_value": best[1]}, folder / RESULTS)
    for result in (result for batch in returns for result in batch):
        _ = result.return_value  # raises the error of a failed job
    return returns


def _train_continuously(
    sweeper: OptunaSweeper,
    study: Study,
    fixed: Sequence[str],
    ledger: Ledger | None,
    first: Sequence[str],
) -> tuple[list[Sequence[JobReturn]], int | None]:
    """Train all trials; returns their JobReturns, and the number that the budget allowed, if any.

    Raises:
        CompactHydraException: the store or the storage of the study cannot be reached.
    """
    sources: list[TrialSource] = []

    def create(job: Job, open_job: OpenJob) -> TrialSource:
        sources.append(TrialSource(study, fixed, ledger, job, open_job))
        return sources[-1]

    assert isinstance(sweeper.launcher, PopulationLauncher)  # `read_search` refuses others
    log_state(study)
    returns = sweeper.launcher.launch_stream(first, create)
    return [returns], sources[0].num_trials


def _listed(epochs: Sequence[int]) -> str:
    """Some epochs as text, the middle ones of many left out."""
    shown = [str(epoch) for epoch in epochs]
    return ", ".join(shown if len(shown) < 8 else [*shown[:3], "…", shown[-1]])
