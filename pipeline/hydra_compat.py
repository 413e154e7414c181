"""What the pipeline needs of Hydra beyond its public interface; checked with hydra-core 1.3.8."""

from __future__ import annotations

import argparse
from typing import Any

from hydra._internal.utils import get_args_parser


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
