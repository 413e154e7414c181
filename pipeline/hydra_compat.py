"""Private parts of Hydra and OmegaConf. No other module uses a name that starts with an underscore.

Checked with hydra-core 1.3.8 and omegaconf 2.3.1. `tests/test_hydra_compat.py` fails with
the name of the part that another version has moved or changed.

- `BasicSweeper`: Hydra's grid sweeper is a plugin, and plugins are private modules.
- `apply_overrides`, `override_dirname`: the two steps of Hydra's config loader that depend on a
  job's plain values. The population launcher repeats them for each job, and the rest once.
- `set_job_config`: `HydraConfig.set_config` copies the configuration, which takes milliseconds.
- `allow_lazy_help`: Hydra 1.3 cannot start on Python 3.14 without it.
- `wrap_run_and_report`: Hydra prints the traceback of each error, also of one that a library has
  made of a signal, and advises to add each key that it does not know.
- `represent_str`: how OmegaConf quotes a text in YAML.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from hydra._internal import hydra, utils
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import CompactHydraException, ConfigCompositionException
from omegaconf import DictConfig
from omegaconf._utils import OmegaConfDumper

from pipeline.errors import PipelineError
from pipeline.shutdown import reraise_pending_signal

if TYPE_CHECKING:
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

__all__ = [
    "BasicSweeper",
    "allow_lazy_help",
    "apply_overrides",
    "job_config",
    "override_dirname",
    "represent_str",
    "set_job_config",
    "wrap_run_and_report",
]

FULL_ERROR = "HYDRA_FULL_ERROR"  # the environment variable with which Hydra prints tracebacks
UNKNOWN_KEY = re.compile(r"Could not override '([\w.]+)'")


def __getattr__(name: str) -> Any:
    """Import `BasicSweeper` when it is asked for.

    Hydra executes the modules of its own plugins again when it looks for plugins, which replaces
    the class. An earlier import would hold the class that was replaced.
    """
    if name == "BasicSweeper":
        from hydra._internal.core_plugins import basic_sweeper

        return basic_sweeper.BasicSweeper
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def allow_lazy_help() -> None:
    """Let Hydra start on Python 3.14.

    argparse of Python 3.14 checks each help text when an option is added. Hydra 1.3 gives its
    option --shell-completion an object that becomes a text only when it is printed, and the check
    rejects it. Where the installed Hydra needs that, this function limits the check to real texts.
    """
    try:
        get_args_parser()
    except ValueError:  # badly formed help string
        check: Any = argparse.ArgumentParser._check_help  # type: ignore[attr-defined]

        def check_text(parser: argparse.ArgumentParser, action: argparse.Action) -> None:
            if isinstance(action.help, str):
                check(parser, action)

        argparse.ArgumentParser._check_help = check_text  # type: ignore[attr-defined]


def wrap_run_and_report(explain: Callable[[str], str | None]) -> None:
    """Replace errors that Hydra is about to print.

    A signal leaves Hydra as `Stopped` where a library has turned it into another error, for example
    while it is imported: NumPy makes an ImportError of it.

    Args:
        explain: gets the name of a key that does not exist, and returns the sentence to print, or
            None for Hydra's own message.
    """
    report = utils.run_and_report

    def run(func: Any) -> Any:
        def check_after() -> Any:
            with reraise_pending_signal():
                try:
                    return func()
                except ConfigCompositionException as error:
                    key = UNKNOWN_KEY.match(str(error))
                    sentence = explain(key[1]) if key else None
                    if sentence is None:
                        raise
                    raise SystemExit(sentence) from None
                except CompactHydraException as error:
                    # Hydra would add a line about a variable that prints the traceback.
                    if isinstance(error.__cause__, PipelineError) and FULL_ERROR not in os.environ:
                        raise SystemExit(str(error)) from None
                    raise

        return report(check_after)

    for module in (utils, hydra):
        module.run_and_report = run  # type: ignore[attr-defined]


def apply_overrides(overrides: Sequence[Override], config: DictConfig) -> None:
    """Set plain values in a composed configuration.

    Raises:
        ConfigCompositionException: a key does not exist.
    """
    ConfigLoaderImpl._apply_overrides_to_config(list(overrides), config)


def override_dirname(overrides: Sequence[Override], names: DictConfig) -> str:
    """The value of `hydra.job.override_dirname`.

    Args:
        overrides: of the job, without the overrides of Hydra itself.
        names: the node `hydra.job.config.override_dirname`.
    """
    return get_overrides_dirname(
        list(overrides),
        kv_sep=names.kv_sep,
        item_sep=names.item_sep,
        exclude_keys=names.exclude_keys,
    )


def job_config() -> HydraConf | None:
    """The configuration to which `HydraConfig.get` refers; None before the first job."""
    return HydraConfig.instance().cfg


def set_job_config(config: DictConfig | HydraConf | None) -> None:
    """Let `HydraConfig.get` refer to a configuration, without a copy."""
    HydraConfig.instance().cfg = cast(HydraConf, config)


def represent_str(dumper: Any, text: str) -> Any:
    """A YAML node of a text, quoted as OmegaConf quotes it."""
    return OmegaConfDumper.str_representer(dumper, text)
