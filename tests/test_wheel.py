"""The wheel, installed in an environment that does not know the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from pipeline.paths import ROOT

EXPERIMENT = """\
# @package _global_
num_epochs: 1
hydra:
  sweeper:
    params:
      hidden_size: 4,8
"""


class Installed:
    """An environment that holds the wheel, and an empty folder to work in."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / "bin"
        self.folder = folder / "work"
        self.folder.mkdir()

    def run(self, command: str, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a console command in the empty folder, without $PIPELINE_OUTPUTS."""
        env = {key: value for key, value in os.environ.items() if key != "PIPELINE_OUTPUTS"}
        return subprocess.run(
            [self.bin / command, *args],
            cwd=self.folder,
            env=env | more,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")

    def run(*command: str | Path) -> None:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    environment = Installed(folder)
    python = environment.bin / "python"
    (wheel,) = (folder / "dist").glob("*.whl")
    run(sys.executable, "-m", "uv", "pip", "install", "--offline", "--no-deps", "-p", python, wheel)
    # The dependencies come from this environment. Its own .pth files, which lead to the checkout,
    # are not read there.
    (site,) = (folder / "venv").glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return environment


@pytest.fixture(scope="module")
def swept(installed: Installed) -> str:
    """What the first sweep prints: an experiment of the user's own, found by --config-dir."""
    experiments = installed.folder / "conf" / "experiment"
    experiments.mkdir(parents=True)
    (experiments / "mine.yaml").write_text(EXPERIMENT)
    done = installed.run("pipeline", "--config-dir", "conf", "-m", "experiment=mine")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sweep_of_users_own_experiment_writes_to_outputs_in_current_directory(
    installed: Installed, swept: str
) -> None:
    outputs = installed.folder / "outputs"
    assert (outputs / "mlflow.db").is_file()
    assert len(list(outputs.glob("multirun/*/*/.hydra/config.yaml"))) == 2
    assert f"{outputs}/reports/" in swept
    assert "pipeline-ui" in swept
    assert "make" not in swept


def test_report_command_writes_the_templates_it_ships(installed: Installed, swept: str) -> None:
    done = installed.run("pipeline-report")
    assert done.returncode == 0, done.stderr
    page = (installed.folder / "outputs" / "reports" / "latest" / "report.html").read_text()
    assert "<script>" in page
    assert "pipeline --config-dir conf -m experiment=mine" in page


def test_run_of_wheel_names_no_commit_of_the_surrounding_repository(
    installed: Installed, swept: str
) -> None:
    code = (
        "from pipeline.paths import ROOT; from pipeline.tracking.provenance import provenance; "
        "print(ROOT, dict(provenance()))"
    )
    done = installed.run("python", "-c", code)
    assert done.stdout.startswith(f"{installed.bin.parent.resolve()}/lib/"), done.stderr
    assert "commit" not in done.stdout


@pytest.mark.parametrize("command", ["pipeline-promote", "pipeline-serve", "pipeline-ui"])
def test_every_console_command_explains_itself(installed: Installed, command: str) -> None:
    done = installed.run(command, "--help")
    assert done.returncode == 0, done.stderr
    assert "--tracking-uri" in done.stdout


def test_shell_completion_offers_groups_and_values(installed: Installed) -> None:
    line = "pipeline data=fa"
    done = installed.run("pipeline", "-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert done.stdout.split() == ["data=fashion_mnist"], done.stderr


def test_ui_without_store_ends_with_one_sentence(installed: Installed, tmp_path: Path) -> None:
    done = installed.run("pipeline-ui", "--tracking-uri", f"sqlite:///{tmp_path}/none.db")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "there is no store at" in done.stderr
    assert not any(tmp_path.iterdir())
