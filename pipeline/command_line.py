"""Words of the command line that Hydra's grammar would not accept as a user writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence

NO_EXPERIMENT = ("experiment=null", "experiment=")
SEEDS = re.compile(r"^(hydra\.sweeper\.seeds=)(\d+(?:,\d+)*)$")
CONDITION = re.compile(r"^(hydra\.sweeper\.where=)(?!null$|['\"])(.+)$", re.DOTALL)


def translated(words: Sequence[str]) -> list[str]:
    """The same command in Hydra's grammar.

    - ``experiment=null`` is the default. Hydra accepts it in a defaults list only.
    - ``hydra.sweeper.seeds=0,1`` gets brackets, because a list without them is a sweep.
    - ``hydra.sweeper.where=a < b`` gets quotes, because an expression is a text.
    """
    kept = [word for word in words if word not in NO_EXPERIMENT]
    with_lists = [SEEDS.sub(r"\1[\2]", word) for word in kept]
    return [CONDITION.sub(_quote, word) for word in with_lists]


def _quote(match: re.Match[str]) -> str:
    return match[1] + '"' + match[2].replace('"', '\\"') + '"'
