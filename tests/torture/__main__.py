"""python -m tests.torture [--seed N] [--quick] [--only NAME]: disturb sweeps, check the results."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.paths import ROOT
from tests.torture import commands, damage, disk, kill, load, lock, misuse, search, server, together
from tests.torture.lab import Lab, prepare
from tests.torture.page import page, write_page
from tests.torture.trials import Choice, Kind, Row, do

LAST = 30  # seconds before the end in which no trial starts


class Section(NamedTuple):
    """Kinds of trials that share a part of the time."""

    name: str
    kinds: Sequence[Kind]
    share: float  # of the time
    at_once: int = 2  # trials: a machine of two cores has no more to give


SECTIONS = [
    Section("Damaged data files", damage.KINDS, 0.03),
    Section("Bad command lines", commands.KINDS, 0.11),
    Section("A locked store", lock.KINDS, 0.05, 5),  # which mostly waits
    Section("A tracking server that fails", server.KINDS, 0.08, 3),  # also waits
    Section("A full disk", disk.KINDS, 0.09, 4),
    Section("Two sweeps at once", together.KINDS, 0.08, 1),
    Section("Daily use", misuse.KINDS, 0.17),
    Section("The server under load", load.KINDS, 0.07, 1),
    Section("Signals", kill.SIGNALS, 0.10),
    Section("Killed searches", search.KINDS, 0.08),
    Section("Kills", kill.KILLS, 0.14),  # last: it uses the time that is left
]


def main() -> None:
    """Run all trials, write docs/reliability.md, and exit with 1 if one has failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of every point (default: 0)")
    parser.add_argument("--quick", action="store_true", help="few trials, and no page is written")
    parser.add_argument("--minutes", type=float, default=24, help="for all of it (default: 24)")
    parser.add_argument("--only", default="", metavar="NAME", help="a kind, a trial: kill, kill-7")
    options = parser.parse_args()
    began = time.monotonic()
    choice = Choice(options.seed, options.quick, options.only)
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        lab = prepare(Path(folder))
        print(f"undisturbed: {lab.seconds:.1f} s", *lab.start_problems, sep="\n    ", flush=True)
        rows = list(_sections(lab, choice, began, 60 * options.minutes))
    text = page(lab, rows, options.seed, time.monotonic() - began)
    print(text)
    if not options.quick and not options.only:
        write_page(text, ROOT / "docs" / "reliability.md")
    sys.exit(bool(lab.start_problems) or any(row.failures for _, row in rows))


def _sections(lab: Lab, choice: Choice, began: float, seconds: float) -> Iterator[tuple[str, Row]]:
    """Run the sections in their order. The next section gets the time that one has left over."""
    saved = 0.0
    only = choice.only.partition("-")[0]
    for section in SECTIONS:
        kinds = [kind for kind in section.kinds if only in ("", kind.name)]
        start = time.monotonic()
        share = seconds if only else saved + section.share * seconds
        until = min(start + share, began + seconds - LAST)
        for row in do(kinds, lab, choice, until, section.at_once):
            yield section.name, row
        saved = max(0.0, start + share - time.monotonic())


if __name__ == "__main__":
    main()
