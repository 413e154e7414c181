"""Imports point one way, and each large library has its place (see README.md, "Layout")."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from pipeline.config import ROOT

ALLOWED = {  # module of pipeline/: the modules of pipeline/ that it may import
    "config": set(),
    "files": {"config"},
    "data": {"config", "files"},
    "model": set(),
    "history": {"model"},
    "stack": {"config", "data", "history", "model"},
    "train": {"config", "data", "history", "model", "stack"},
    "board": {"history"},
    "checkpoint": {"config", "history", "model"},
    "shard": {"board", "checkpoint", "config", "data", "history", "train"},
    "population": {"board", "checkpoint", "config", "data", "shard", "stop"},
    "progress": set(),
    "stop": set(),
    "provenance": {"config"},
    "calls": {"config", "stop"},
    "tracking": {"calls", "provenance", "stop"},
    "dry_run": {"config", "data", "population", "stack", "train"},
    "jobrun": {"checkpoint", "config", "data", "history", "tracking"},
    "halving": {"config", "jobrun"},
    "writer": {"config", "jobrun", "provenance"},
    "reuse": {"checkpoint", "config", "data", "jobrun", "tracking"},
    "group": {
        *("board", "checkpoint", "config", "data", "halving", "jobrun", "population"),
        *("progress", "provenance", "stop", "writer"),
    },
    "sweep": {
        *("checkpoint", "config", "data", "dry_run", "group", "jobrun", "population"),
        *("reuse", "writer"),
    },
    "worker": {"config", "data", "group", "jobrun", "stop", "sweep", "tracking"},
    "scheduler": {"config", "stop", "worker"},
    "cluster": {
        *("config", "data", "group", "jobrun", "population", "progress"),
        *("scheduler", "stop", "tracking", "worker", "writer"),
    },
    "figures": {"config"},
    "drawings": {"data", "figures"},
    "paired": set(),
    "significance": {"paired"},
    "importance": set(),
    "advice": {"config"},
    "choice": {"config", "data", "figures", "model", "tracking"},
    "portrait": {"choice", "data", "model", "tracking"},
    "page": {
        *("choice", "data", "drawings", "evidence"),
        *("figures", "model", "portrait", "tracking"),
    },
    "evidence": {
        *("advice", "choice", "config", "data", "figures"),
        *("importance", "significance", "tracking"),
    },
    "report": {
        *("choice", "config", "data", "evidence", "figures"),
        *("model", "page", "portrait", "tracking"),
    },
    "champion": set(),
    "registry": {"calls", "tracking"},
    "promote": {
        *("choice", "config", "data", "evidence", "figures", "registry", "tracking"),
    },
    "serve": {"config", "registry", "tracking"},
    "__init__": set(),
    "__main__": {"config", "jobrun", "population", "report", "stop", "sweep", "tracking"},
}
HOMES = {  # library: where alone it may be imported
    "hydra": {"__main__"},
    "omegaconf": {"__main__"},
    "mlflow": {"calls", "champion", "registry", "tracking"},
    "pandas": {
        "evidence",
        *("advice", "choice", "drawings", "figures", "importance", "page", "paired"),
        *("promote", "report", "significance", "tracking"),
    },
    "joblib": {"population"},
    "distributed": {"scheduler", "worker"},
}


def imports(name: str) -> set[str]:
    """The modules that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / "pipeline" / f"{name}.py").read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "pipeline":
            found |= {f"pipeline.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "pipeline").glob("*.py")))
def test_imports_point_one_way(name: str) -> None:
    found = imports(name)
    own = {module.split(".")[1] for module in found if module.startswith("pipeline.")}
    assert own - {"__main__"} <= ALLOWED[name]
    libraries = {module.split(".")[0] for module in found}
    for library, homes in HOMES.items():
        assert library not in libraries or name in homes, f"{name} imports {library}"


def test_help_does_not_wait_for_slow_libraries() -> None:
    slow = {"mlflow", "pandas", "sklearn", "matplotlib", "scipy"}
    code = f"import sys, pipeline.__main__; print(*sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
