"""Commands that a report suggests."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pipeline.config import short


def extend(command: str, name: str, values: Sequence[float]) -> str:
    """The command of a sweep with other values of one hyperparameter, ready for a shell.

    Args:
        command: as `python -m pipeline …`.
        name: of the hyperparameter.
        values: the new values. They replace the values in the command or in its experiment.
    """
    return override(command, name, ",".join(map(short, values)))


def override(command: str, name: str, text: str) -> str:
    """The command of a sweep with another text for one hyperparameter."""
    start, words = shlex.split(command)[:3], shlex.split(command)[3:]
    assignment = f"{name}={text}"
    same = [i for i, word in enumerate(words) if word.lstrip("+").startswith(f"{name}=")]
    if same:
        words[same[-1]] = assignment
    else:
        last = [i for i, word in enumerate(words) if "=" in word and not word.startswith("-")]
        words.insert(last[-1] + 1 if last else len(words), assignment)
    if not {"-m", "--multirun"} & set(words):
        words.insert(0, "-m")
    return shlex.join([*start, *words])
