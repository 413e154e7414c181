"""hydra/sweeper=optuna: spaces, samplers, studies, and sweeps by their command."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from hydra_plugins.search._space import split
from hydra_plugins.search._trials import jobs
from pipeline.errors import ConfigError, PipelineError
from pipeline.paths import ROOT
from pipeline.search.sampling import Search
from pipeline.search.space import as_overrides
from pipeline.search.study import Study, TrialResult
from pipeline.tracking import queries
from pipeline.tracking.store import Store
from tests.commands import ONE_SHARD, OUT_OF_MEMORY, report_of
from tests.searches import num_ended_trials

NUMBERS = ["hidden_size=int(interval(16,64))", "learning_rate=tag(log, interval(0.01, 1))"]
LISTS = ["hidden_size=16,32", "learning_rate=range(1,4)"]
# With OUT_OF_MEMORY, batch_size=50 fails; learning_rate=1e9 diverges.
MIXED = ["hidden_size=16,8", "learning_rate=0.3,1e9", "batch_size=100,50", "num_epochs=1"]
SMALL = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=8", "hydra.sweeper.batch_size=4"]


def space_of(*overrides: str) -> tuple[dict[str, BaseDistribution], list[str]]:
    return split(OverridesParser.create().parse_overrides(list(overrides)))


def search(
    *overrides: str, sampler: str = "tpe", seed: int = 0, n: int = 8, batch: int = 4
) -> Search:
    return Search(space_of(*overrides)[0], {}, sampler, seed, n, batch)


def in_file(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


def train(study: Study, batches: int = 99) -> list[FrozenTrial]:
    """Run a study. The result of each trial is its learning rate divided by 4."""
    after = 0
    while batches and (trials := study.next_trials(after)):
        for trial in trials:
            study.tell(trial, TrialResult(trial.params["learning_rate"] / 4))
        after += len(trials)
        batches -= 1
    return study.trials()


def values(trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    return [trial.params for trial in trials]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1,2", CategoricalDistribution([1, 2])),
        ("a=choice(x,1e-3,true)", CategoricalDistribution(["x", 1e-3, True])),
        ("a=range(1,9)", IntDistribution(1, 8)),
        ("a=range(32,257,32)", IntDistribution(32, 256, step=32)),
        ("a=range(0,1,0.25)", FloatDistribution(0, 0.75, step=0.25)),
        ("a=interval(0.01,1)", FloatDistribution(0.01, 1)),
        ("hidden_size=64:256:64", IntDistribution(64, 256, step=64)),
        ("hidden_size=256:64:-64", IntDistribution(64, 256, step=64)),
        ("learning_rate=0.1:0.7:0.1", FloatDistribution(0.1, 0.7, step=0.1)),
        ("hidden_size=1:2,8", CategoricalDistribution([1, 2, 8])),
        ("num_epochs=1k,2k", CategoricalDistribution([1000, 2000])),
        ("a=tag(log, interval(1e-4,1))", FloatDistribution(1e-4, 1, log=True)),
        ("a=int(interval(16,256))", IntDistribution(16, 256)),
        ("a=tag(log, int(interval(16,256)))", IntDistribution(16, 256, log=True)),
    ],
)
def test_sweep_syntax_becomes_a_distribution(text: str, expected: BaseDistribution) -> None:
    key = text.partition("=")[0]
    assert space_of(text, "b=3", "~c") == ({key: expected}, ["b=3", "~c"])


def test_last_override_counts_and_floats_keep_their_digits() -> None:
    space, fixed = space_of("a=1,2", "b=interval(0,1)", "a=3", "b=0.5,'x y'")
    assert (space, fixed) == ({"b": CategoricalDistribution([0.5, "'x y'"])}, ["a=3"])
    assert as_overrides({"b": 0.1 + 0.2, "c": "'x y'"}) == ["b=0.30000000000000004", "c='x y'"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a=3", "nothing to search"),
        ("a=interval(1,0.1)", "goes from a smaller to a larger number"),
        ("a=tag(log, interval(0,1))", "must begin above 0"),
        ("a=tag(log, range(1,9))", "a range has no log scale"),
        ("a=tag(quick, interval(0,1))", "the only tag that is known is log, not quick"),
        ("a=range(1,1)", "holds no value"),
        ("a=range(4,1e30)", "over a million values"),
        ("a=range(0,100000000000000000000)", "over a million values"),
        ("a=interval(0.1,nan)", "finite"),
        ("a=interval(-inf,1)", "finite"),
    ],
)
def test_invalid_space_is_explained_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        space_of(text)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "qmc", "random", "grid"])
def test_every_sampler_gives_the_same_trials_for_a_seed(sampler: str) -> None:
    space = LISTS if sampler == "grid" else NUMBERS
    count = 6 if sampler == "grid" else 16  # beyond TPE's first ten, which are random

    def trials(seed: int) -> list[dict[str, Any]]:
        wanted = search(*space, sampler=sampler, seed=seed, n=count, batch=4)
        return values(train(Study(wanted, "x", storage=None)))

    first = trials(0)
    assert len(first) == count
    assert first == trials(0) != trials(1)


def test_grid_trains_each_point_once_and_needs_lists() -> None:
    trials = values(train(Study(search(*LISTS, sampler="grid", n=99), "x", storage=None)))
    assert len(trials) == len({str(trial) for trial in trials}) == 6
    with pytest.raises(ConfigError, match="cannot try all values of an interval: give learning"):
        _ = search("learning_rate=interval(0,1)", sampler="grid").count


@pytest.mark.parametrize(
    ("sampler", "said"), [("cmaes", "at least two intervals"), ("bayes", "must be one of tpe, ")]
)
def test_unsuitable_sampler_is_explained_in_one_sentence(sampler: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        search("a=1,2", "b=interval(0,1)", sampler=sampler)


def test_trials_of_a_range_have_the_values_of_a_grid() -> None:
    """0.1 + 2 · 0.1 is 0.30000000000000004, which would be another run than 0.3."""
    wanted = search("learning_rate=0.1:0.5:0.1", sampler="grid", n=99)
    for sampler in ("grid", "tpe"):
        trials = values(train(Study(replace(wanted, sampler=sampler, n_trials=20), "x", None)))
        found = {line for (line,) in jobs(wanted, [], trials)}
        written = {f"learning_rate=0.{i}" for i in (1, 2, 3, 4, 5)}
        assert found == written if sampler == "grid" else "learning_rate=0.3" in found <= written


def test_cmaes_names_the_choices_that_it_cannot_search() -> None:
    with pytest.raises(ConfigError, match=r"and no choices, as for a, c: choose another sampler$"):
        search("a=1,2", "b=interval(0,1)", "c=3,4", sampler="cmaes")
    with pytest.raises(ConfigError, match=r"and no choices: choose another sampler$"):
        search("b=interval(0,1)", sampler="cmaes")


def test_resumed_study_draws_the_trials_of_an_uninterrupted_one(tmp_path: Path) -> None:
    wanted = search(*NUMBERS, n=14, batch=4)
    expected = values(train(Study(wanted, "whole", storage=None)))
    train(Study(wanted, "x", in_file(tmp_path)), batches=2)
    died = Study(wanted, "x", in_file(tmp_path))
    batch = died.next_trials(after=8)
    died.tell(batch[0], TrialResult(batch[0].params["learning_rate"] / 4))
    again = Study(wanted, "x", in_file(tmp_path))
    assert values(again.next_trials(after=0)) == expected[:12]  # finished trials included
    assert values(train(again)) == expected
    assert all(trial.state == TrialState.COMPLETE for trial in again.trials())
    assert values(train(Study(wanted, "x", in_file(tmp_path)))) == expected


def test_failed_trial_is_repeated_and_diverged_trial_is_never_the_best(tmp_path: Path) -> None:
    study = Study(search(*LISTS, n=3, batch=3), "x", in_file(tmp_path))
    failed, diverged, fine = study.next_trials(after=0)
    study.tell(failed, TrialResult(None, failed=True))
    study.tell(diverged, TrialResult(None))
    study.tell(fine, TrialResult(0.5))
    states = [trial.state for trial in study.trials()]
    assert states == [TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE]
    assert study.best() == (fine.params, 0.5)
    for _ in range(2):
        again = study.next_trials(after=0)
        assert values(again) == values([failed, diverged, fine])
        study.tell(again[0], TrialResult(0.9))
    assert study.best() == (failed.params, 0.9)
    assert study.num_results() == 3


def test_study_refuses_another_search_and_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Study(search(*LISTS), "x", in_file(tmp_path))
    with pytest.raises(PipelineError, match=r"study x was started with other settings \(space\)"):
        Study(search(*NUMBERS), "x", in_file(tmp_path))
    assert search(*LISTS).name == search(*LISTS, n=99).name
    assert len({search(*LISTS).name, search(*NUMBERS).name, search(*LISTS, seed=1).name}) == 3
    monkeypatch.setitem(Study.__init__.__globals__, "provenance", lambda: {"host": "x", "pid": "1"})
    with pytest.raises(PipelineError, match=f"is locked by process {os.getpid()} on host "):
        Study(search(*LISTS), "x", in_file(tmp_path))


def test_two_processes_can_create_one_study_at_the_same_time(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from tests.plugins.test_optuna import LISTS, search\n"
        "from pipeline.search.study import Study\n"
        "sys.stdin.readline()\n"
        "Study(search(*LISTS), sys.argv[2], sys.argv[1])\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, in_file(tmp_path), name],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("x", "y")
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors


def command(outputs: Path, *args: str, prelude: str = "pass") -> subprocess.Popen[str]:
    code = f"import sys\n{prelude}\nfrom pipeline.__main__ import main\nmain()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "-m", *args],
        env=os.environ | {"PIPELINE_OUTPUTS": str(outputs)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A search of two batches that was killed after the first batch and then resumed."""
    outputs = tmp_path_factory.mktemp("swept") / "outputs"
    first = command(outputs, *SMALL, *MIXED, ONE_SHARD, prelude=OUT_OF_MEMORY)
    while first.poll() is None and num_ended_trials(outputs) < 4:
        time.sleep(0.05)
    assert first.poll() is None, first.communicate()[0]
    first.kill()
    first.wait()
    second = command(outputs, *SMALL, *MIXED, ONE_SHARD, prelude=OUT_OF_MEMORY)
    said = second.communicate()[0]
    assert second.returncode == 1, said  # jobs failed
    return outputs, said


def test_killed_search_resumes_its_study(swept: tuple[Path, str]) -> None:
    outputs, said = swept
    assert "Traceback" not in said
    assert "MemoryError: no memory for 50 examples" in said
    report = report_of(outputs)
    assert [run["job"] for run in sorted(report["runs"], key=lambda r: r["job"])] == [*range(8)]
    assert {"finished", "diverged", "failed"} == {run["outcome"] for run in report["runs"]}
    with closing(sqlite3.connect(outputs / "optuna.db")) as database:
        states = dict(database.execute("SELECT state, count(*) FROM trials GROUP BY state"))
    counts = [sum(r["outcome"] == o for r in report["runs"]) for o in ("failed", "diverged")]
    assert (states["FAIL"], states["PRUNED"]) == tuple(counts)
    assert sum(states.values()) == 8


def test_sweep_folder_holds_the_best_values(swept: tuple[Path, str]) -> None:
    outputs, _ = swept
    (path,) = (outputs / "multirun").glob("*/optimization_results.yaml")
    best = report_of(outputs)["best"]
    assert yaml.safe_load(path.read_text()) == {
        "name": "optuna",
        "best_evaluated_params": {
            k: best["values"][k] for k in ("hidden_size", "learning_rate", "batch_size")
        },
        "best_evaluated_value": best["val_acc"],
    }


def test_store_and_report_describe_the_search(swept: tuple[Path, str]) -> None:
    outputs, _ = swept
    sweep = queries.find_sweep(Store(f"sqlite:///{outputs}/mlflow.db"))
    assert set(sweep.searched) == {"hidden_size", "learning_rate", "batch_size"}
    page = (outputs / "reports" / "latest" / "report.html").read_text()
    assert "Validation accuracy of each trial" in page
    assert (outputs / "reports" / "latest" / "history.svg").exists()


def test_search_works_with_another_launcher_and_sampler(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()  # a folder that exists is used
    wanted = ["hydra.sweeper.n_trials=2", "hydra.sweeper.sampler=qmc", "num_epochs=1"]
    wanted += [f"hydra.sweep.dir={folder}"]
    done = command(tmp_path / "out", SMALL[0], *wanted, *NUMBERS, "hydra/launcher=basic")
    said = done.communicate()[0]
    assert done.returncode == 0, said
    assert (folder / "optimization_results.yaml").exists()
    assert len(report_of(tmp_path / "out")["runs"]) == 2


def test_dry_run_of_an_experiment_writes_no_study(tmp_path: Path) -> None:
    wanted = [*SMALL, "experiment=digits_optuna", "hydra.launcher.dry_run=true"]
    done = command(tmp_path / "out", *wanted)
    said = done.communicate()[0]
    assert done.returncode == 0, said
    assert "the first 4 of 8 trials" in said and "4 jobs" in said
    assert not (tmp_path / "out").exists()


def test_missing_optuna_is_explained_in_one_sentence(tmp_path: Path) -> None:
    wanted = [*SMALL, *NUMBERS, "hydra.launcher.dry_run=true"]
    done = command(tmp_path / "out", *wanted, prelude="sys.modules['optuna'] = None")
    said = done.communicate()[0]
    assert done.returncode == 1
    assert "hydra/sweeper=optuna needs Optuna: pip install optuna cmaes" in said
    assert "Traceback" not in said
