"""No code of the project reads or writes pickles, and no server listens beyond this machine."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.paths import ROOT
from pipeline.serving.server import LOCAL
from pipeline.ui import server_command

CODE = ("pipeline", "hydra_plugins", "benchmarks", "examples", "tests")
CIFAR10 = os.environ.get("CIFAR10_DIR", "")
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


# Pickle: no code that reads or writes it, and no file that is one


def forbidden(tree: ast.AST) -> Iterator[str]:
    """What of a module could load an object from a file, or run a text."""
    modules = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal"}
    calls = {"eval", "exec", "read_pickle", "to_pickle", "unsafe_load", "full_load"}
    qualified = {"joblib.load", "joblib.dump", "yaml.load", "torch.load", "torch.save"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Call):
            text = ast.unparse(node.func)
            if text.rpartition(".")[2] in calls - ({"eval"} if "." in text else set()):
                yield text  # torch's model.eval() evaluates no text
            if text in qualified:
                yield text
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                    yield ast.unparse(node)
            continue
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in modules)


def test_no_module_imports_pickle_or_evaluates_text() -> None:
    paths = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 20
    found = {
        str(path): names
        for path in paths
        if (names := list(forbidden(ast.parse(path.read_text()))))
        # PyTorch is measured as its users use it: what it saves there, nothing reads.
        and ("peers" not in path.parts or names != ["torch.save"])
    }
    assert not found
    bad = "import pickle\nnp.load(x, allow_pickle=True)\npd.read_pickle(x)\neval(x)"
    assert len(list(forbidden(ast.parse(bad)))) == 4


# Servers


def test_servers_listen_on_loopback_by_default() -> None:
    assert LOCAL[0] == "127.0.0.1"
    assert "--host 127.0.0.1" in " ".join(server_command("sqlite:////x/mlflow.db", 5000))
    paths = [ROOT / "README.md", ROOT / "Makefile"]
    paths += [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    for path in paths:
        text = path.read_text()
        assert path == Path(__file__) or "0.0.0.0" not in text, path
        for call in re.findall(r"(?:HTTPServer|TCPServer|create_server)\(([^)]*)", text):
            asked = "(host" in call and '"--host", default=LOCAL[0]' in text
            assert "127.0.0.1" in call or "::1" in call or asked, path
