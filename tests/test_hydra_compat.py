"""The private parts of Hydra and OmegaConf that pipeline/hydra_compat.py uses still exist."""

from __future__ import annotations

import importlib
import inspect
from importlib.metadata import version

import pytest

LOADER = "hydra._internal.config_loader_impl"
BASIC = "hydra._internal.core_plugins.basic_sweeper"


@pytest.mark.parametrize(
    ("module", "path", "parameters"),
    [
        (LOADER, "ConfigLoaderImpl._apply_overrides_to_config", ["overrides", "cfg"]),
        (LOADER, "get_overrides_dirname", ["overrides", "exclude_keys", "item_sep", "kv_sep"]),
        (BASIC, "BasicSweeper.split_arguments", ["overrides", "max_batch_size"]),
        (BASIC, "BasicSweeper.sweep", ["self", "arguments"]),
        (BASIC, "BasicSweeper.validate_batch_is_legal", ["self", "batch"]),
        ("hydra._internal.utils", "get_args_parser", []),
        ("hydra._internal.utils", "run_and_report", ["func"]),
        ("hydra._internal.hydra", "run_and_report", ["func"]),
        ("hydra.core.hydra_config", "HydraConfig.instance", ["args", "kwargs"]),
        ("omegaconf._utils", "OmegaConfDumper.str_representer", ["dumper", "data"]),
    ],
)
def test_private_part_exists_with_its_parameters(
    module: str, path: str, parameters: list[str]
) -> None:
    installed = f"hydra-core {version('hydra-core')}, omegaconf {version('omegaconf')}"
    advice = f"{module}.{path} has changed in {installed}: adapt pipeline/hydra_compat.py"
    try:
        found = importlib.import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        pytest.fail(f"{advice} ({error})")
    assert list(inspect.signature(found).parameters) == parameters, advice  # type: ignore[arg-type]
