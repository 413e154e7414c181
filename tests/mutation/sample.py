"""Draw a fixed random sample of mutants from the source files."""

from __future__ import annotations

import ast
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec

SOURCES = (
    "pipeline/nn",
    "pipeline/execution",
    "pipeline/analysis",
    "pipeline/tracking",
    "pipeline/serving",
    "pipeline/search",
    "hydra_plugins",
)


@dataclass(frozen=True)
class Mutant:
    """One change of one line of a source file."""

    path: str  # relative to the root of the checkout
    operator: str
    line: int  # 1-based
    above: str  # the line above, which tells equal lines of a file apart
    before: str  # the line without its indentation
    after: str  # the mutated line without its indentation
    code: str  # the complete mutated file

    @property
    def key(self) -> str:
        """A name that stays valid while other lines of the file change."""
        return f"{self.path}: {self.above} | {self.before} → {self.after}"


def draw(root: Path, count: int, seed: int) -> list[Mutant]:
    """Draw mutants without replacement, each mutable place of the code with equal probability.

    Of several mutants of one place (`<` can become `<=`, `==`, …) one is drawn, so that
    comparisons do not dominate the sample. A change of the code leaves most of the sample as it
    was: each place is ordered by the hash of its line, and the first `count` are taken.

    Args:
        root: the checkout.
        count: the size of the sample.
        seed: gives another sample.

    Returns:
        The sample, ordered by path and line.
    """
    paths = [path for folder in SOURCES for path in sorted((root / folder).rglob("*.py"))]
    places = sorted(_places(paths), key=lambda specs: _hash(_place(root, specs[0]), seed))
    mutants = islice(filter(None, (_mutant_of(root, specs, seed) for specs in places)), count)
    return sorted(mutants, key=lambda mutant: (mutant.path, mutant.line))


def _mutant_of(root: Path, place: Sequence[MutationSpec], seed: int) -> Mutant | None:
    """Draw one mutant of a place. cosmic-ray also makes some that Python cannot parse."""
    mutants = [_mutate(root, spec) for spec in place]
    valid = [mutant for mutant in mutants if _parses(mutant.code)]
    return min(valid, key=lambda mutant: _hash(mutant.after, seed), default=None)


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def _hash(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {text}".encode()).digest()


def _place(root: Path, spec: MutationSpec) -> str:
    """Name a place by its file, the text of its line and the column."""
    path = Path(spec.module_path)
    line, column = spec.start_pos
    text = path.read_text(encoding="utf-8").splitlines()[line - 1]
    return f"{path.relative_to(root)} {column} {text}"


def _places(paths: Sequence[Path]) -> Iterator[list[MutationSpec]]:
    """Yield the possible mutations of each place that can change the behaviour, in order."""
    ignored = {
        path: list(_annotations(ast.parse(path.read_text(encoding="utf-8")))) for path in paths
    }
    found: dict[tuple[Path, tuple[int, int]], list[MutationSpec]] = {}
    with tempfile.TemporaryDirectory() as folder:
        database = str(Path(folder, "mutations.sqlite"))
        with use_db(database, WorkDB.Mode.create) as db:
            init(paths, db, {})
            for item in db.work_items:
                (spec,) = item.mutations
                path, start = Path(spec.module_path), tuple(spec.start_pos)
                if _is_supported(spec) and not any(a <= start < b for a, b in ignored[path]):
                    found.setdefault((path, start), []).append(spec)
    for place in sorted(found):
        yield sorted(found[place], key=lambda spec: (spec.operator_name, spec.occurrence))


def _is_supported(spec: MutationSpec) -> bool:
    """Whether cosmic-ray can apply a mutation: it cannot replace an exception `module.Name`."""
    if spec.operator_name != "core/ExceptionReplacer":
        return True
    (line, start), (_, end) = spec.start_pos, spec.end_pos
    text = Path(spec.module_path).read_text(encoding="utf-8").splitlines()[line - 1]
    return text[start:end].isidentifier()


def _annotations(tree: ast.AST) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield where each type annotation begins and ends: annotations are never evaluated."""
    for node in ast.walk(tree):
        annotations = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        for found in annotations:
            if isinstance(found, ast.expr):
                assert found.end_lineno is not None and found.end_col_offset is not None
                yield (found.lineno, found.col_offset), (found.end_lineno, found.end_col_offset)


def _mutate(root: Path, spec: MutationSpec) -> Mutant:
    path = Path(spec.module_path)
    original = path.read_text(encoding="utf-8")
    operator = get_operator(spec.operator_name)(**spec.operator_args)
    mutated = mutate_code(original, operator, spec.occurrence)
    assert mutated is not None
    line = spec.start_pos[0]
    before, after = original.splitlines(), mutated.splitlines()
    return Mutant(
        path=str(path.relative_to(root)),
        operator=spec.operator_name.removeprefix("core/"),
        line=line,
        above=before[line - 2].strip() if line > 1 else "",
        before=before[line - 1].strip(),
        # The line after a removed decorator may be empty.
        after=next(filter(None, (text.strip() for text in after[line - 1 :])), ""),
        code=mutated,
    )
