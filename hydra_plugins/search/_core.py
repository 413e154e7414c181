"""The Optuna sweeper's work: read the space, ask the study, launch the jobs, tell the results."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from hydra_plugins.population._compose import Composer
from hydra_plugins.population._core import launcher_config, one_sentence
from hydra_plugins.population._jobs import sweep_folder_errors
from hydra_plugins.population.launcher import PopulationLauncher
from hydra_plugins.search._pruning import TrialRule
from hydra_plugins.search._space import split
from pipeline.composed import redacted
from pipeline.config import parse_job
from pipeline.errors import ConfigError
from pipeline.hyperparameters import HYPERPARAMETERS
from pipeline.search.config import OptunaConfig, parse_optuna
from pipeline.search.pruning import Pruning
from pipeline.search.sampling import Search
from pipeline.search.space import as_overrides, bounds, extremes
from pipeline.search.study import Study
from pipeline.selection import describe_score, parse_select_by
from pipeline.session import current_session

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hydra_plugins.search.sweeper import OptunaSweeper
    from pipeline.search.space import Space

RESULTS = "optimization_results.yaml"  # the name that Hydra's own sweeper for Optuna uses

log = logging.getLogger("pipeline")


def sweep(sweeper: OptunaSweeper, arguments: Sequence[str]) -> list[Sequence[JobReturn]]:
    """Train the trials that the study still lacks; returns the JobReturns of each batch.

    Raises:
        CompactHydraException: a value or a space is wrong, the storage cannot be reached, or a job
            failed; the latter is raised after all other jobs have ended.
    """
    with one_sentence(), sweep_folder_errors():
        search, fixed = _read_search(sweeper, arguments)
        return _run(sweeper, search, fixed)


def _read_search(sweeper: OptunaSweeper, arguments: Sequence[str]) -> tuple[Search, list[str]]:
    """The search, and the overrides that all trials share.

    Raises:
        ConfigError: a value is wrong, or a package is missing.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ConfigError("hydra/sweeper=optuna needs Optuna: pip install -e '.[optuna]'") from None
    values = _checked_values(sweeper)
    parser = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader)
    texts = [f"{key}={value}" for key, value in (values.params or {}).items()]
    space, fixed = split(parser.parse_overrides([*texts, *arguments]))
    config = sweeper.config
    values_of_jobs = {
        str(key): config[key]
        for key in config
        if key not in space and not OmegaConf.is_config(config[key])
    }
    select_by = parse_select_by(values_of_jobs.get("select_by"))
    shared = {  # without values that change nothing, so that older studies are found
        key: value
        for key, value in values_of_jobs.items()
        if key not in HYPERPARAMETERS or HYPERPARAMETERS[key].is_hashed(value)
    }
    shared |= {"data.name": OmegaConf.select(config, "data.name")}
    settings = values.sampler, values.seed, values.n_trials, values.batch_size
    pruning = _read_pruning(sweeper, values, space, fixed)
    return Search(space, shared, *settings, select_by, pruning), fixed


def _read_pruning(
    sweeper: OptunaSweeper, values: OptunaConfig, space: Space, fixed: Sequence[str]
) -> Pruning | None:
    """The pruner that hydra.sweeper names.

    Raises:
        ConfigError: it cannot be used, or a parameter is wrong.
    """
    if values.pruner is None:
        if values.pruner_params:
            raise ConfigError(
                "hydra.sweeper.pruner_params needs a pruner: set hydra.sweeper.pruner"
            )
        return None
    launcher = sweeper.launcher
    if not isinstance(launcher, PopulationLauncher) or launcher.backend != "joblib":
        raise ConfigError(
            "hydra.sweeper.pruner applies only to hydra/launcher=population with backend=joblib, "
            "where the trials of a batch train together: remove it"
        )
    composer = Composer(sweeper.hydra_context.config_loader, sweeper.config)
    lengths = [composer.values(fixed).get("num_epochs")]
    if "num_epochs" in space:
        lengths = extremes(space["num_epochs"])
    longest = max((n for n in lengths if isinstance(n, int)), default=1)  # others are refused later
    return Pruning(values.pruner, values.pruner_params or {}, longest)


def _checked_values(sweeper: OptunaSweeper) -> OptunaConfig:
    """The checked values of hydra.sweeper.

    Raises:
        ConfigError: one is wrong.
    """
    halving = sweeper.config.hydra.launcher.get("halving")
    if OmegaConf.is_config(halving) and halving.get("factor") is not None:
        raise ConfigError(
            "hydra.launcher.halving applies only to a grid, because a search trains one batch of "
            "trials at a time: set hydra.launcher.halving.factor=null"
        )
    values = {field.name: getattr(sweeper, field.name) for field in fields(OptunaConfig)}
    for name in ("params", "pruner_params"):
        if OmegaConf.is_config(values[name]):
            values[name] = OmegaConf.to_container(values[name])
    return parse_optuna(values)


def _run(sweeper: OptunaSweeper, search: Search, fixed: Sequence[str]) -> list[Sequence[JobReturn]]:
    config = sweeper.config
    name = sweeper.study or f"{config.tracking.experiment}-{search.name}"
    trials = Study(search, name, storage=None).next_trials(after=0)
    first = [[*fixed, *as_overrides(trial.params)] for trial in trials]
    _check_jobs(sweeper, search, fixed, trials[0].params)
    if isinstance(sweeper.launcher, PopulationLauncher):
        launcher_config(sweeper.launcher)
    if OmegaConf.select(config, "hydra.launcher.dry_run"):
        print(f"the first {len(first)} of {search.count} trials of the study {name}:")
        if search.pruning is not None:
            print(f"pruning: a trial can stop after epoch {_listed(search.pruning.epochs())}")
        return [sweeper.launcher.launch(first, initial_job_idx=0)]
    folder = Path(config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(redacted(config), folder / "multirun.yaml")
    study = Study(search, name, sweeper.storage)
    session = current_session()
    if session is not None:
        session.start_sweep(search.count)
        session.note_search(bounds(search.space))
    returns = _train(sweeper, study, fixed)
    best = study.best()
    if best is not None:
        found = {"name": "optuna", "best_evaluated_params": best[0]}
        OmegaConf.save({**found, "best_evaluated_value": best[1]}, folder / RESULTS)
    for result in (result for batch in returns for result in batch):
        _ = result.return_value  # raises the error of a failed job
    return returns


def _train(sweeper: OptunaSweeper, study: Study, fixed: Sequence[str]) -> list[Sequence[JobReturn]]:
    """Train batch after batch, until the end or until all jobs of a batch fail."""
    returns: list[Sequence[JobReturn]] = []
    count, done = study.search.count, 0
    while trials := study.next_trials(after=done):
        _log_state(study, count)
        for batch in study.split(trials):
            returns.append(_train_batch(sweeper, study, fixed, batch, done))
            done += len(batch)
        if len(batch) > 1 and all(job.status != JobStatus.COMPLETED for job in returns[-1]):
            log.error("all %d jobs of a batch failed: the search stops", len(batch))
            break
    return returns


def _train_batch(
    sweeper: OptunaSweeper,
    study: Study,
    fixed: Sequence[str],
    batch: Sequence[FrozenTrial],
    first: int,
) -> Sequence[JobReturn]:
    """Train trials, of which `first` is the index of the first one, and record their results."""
    jobs = [[*fixed, *as_overrides(trial.params)] for trial in batch]
    rule = pruner = None
    if study.search.pruning is not None:
        assert isinstance(sweeper.launcher, PopulationLauncher)
        pruner = study.pruner(batch)
        rule = TrialRule(batch, first, 1, study.search.pruning.epochs(), pruner)
        sweeper.launcher.rule = rule
    results = sweeper.launcher.launch(jobs, initial_job_idx=first)
    for index, (trial, result) in enumerate(zip(batch, results, strict=True), first):
        failed = result.status != JobStatus.COMPLETED
        value = None if failed else result.return_value
        if rule is None or pruner is None:
            study.tell(trial, value, failed=failed)
            continue
        value = None if index in rule.pruned else value
        scores = rule.scores(index) if index in rule.pruned or value is not None else []
        attributes = pruner.attributes(trial.number)
        study.tell(trial, value, failed=failed, scores=scores, attributes=attributes)
    return results


def _listed(epochs: Sequence[int]) -> str:
    """Some epochs as text, the middle ones of many left out."""
    shown = [str(epoch) for epoch in epochs]
    return ", ".join(shown if len(shown) < 8 else [*shown[:3], "…", shown[-1]])


def _log_state(study: Study, count: int) -> None:
    line = f"study {study.name}: {study.num_results()} of {count} trials have a result"
    best = study.best()
    if best is not None:
        rounded = {
            key: float(f"{v:.3g}") if isinstance(v, float) else v for key, v in best[0].items()
        }
        score = describe_score(best[1], study.search.select_by)
        line += f", best {score} ({' '.join(as_overrides(rounded))})"
    log.info(line)


def _check_jobs(
    sweeper: OptunaSweeper, search: Search, fixed: Sequence[str], first: Mapping[str, Any]
) -> None:
    """Check the values that a search can draw: each choice, and both ends of each interval.

    Raises:
        ConfigError: a value of a job is wrong.
    """
    composer = Composer(sweeper.hydra_context.config_loader, sweeper.config)
    jobs = [first, *({**first, key: v} for key, d in search.space.items() for v in extremes(d))]
    for values in jobs:
        parse_job(composer.values([*fixed, *as_overrides(values)]))
