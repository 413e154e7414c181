"""python -m tests.mutation [--count 300] [--seed 0]: run the tests against a sample of mutants.

Each finished mutant is appended to outputs/mutants.jsonl; the same command resumes after an
interruption. `equivalent.json` lists mutants that do not change the behaviour, with the reason.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tqdm import tqdm

from pipeline.paths import ROOT, outputs_dir
from tests.mutation.run import TESTS, copy_checkout, is_killed
from tests.mutation.sample import Mutant, draw

EQUIVALENT = Path(__file__).with_name("equivalent.json")


def main() -> None:
    """Run the sample, print each survivor and the rate of detection per package."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="mutants to draw (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (default: 2)")
    parser.add_argument("--only", default="", help="only files whose path begins with this")
    parser.add_argument("--again", action="store_true", help="test the survivors again")
    options = parser.parse_args()
    log = outputs_dir() / "mutants.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    mutants = draw(ROOT, options.count, options.seed)
    mutants = [mutant for mutant in mutants if mutant.path.startswith(options.only)]
    results = _read(log)
    todo = [
        mutant
        for mutant in mutants
        if mutant.key not in results or (options.again and not results[mutant.key])
    ]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, log.open("a") as file:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(options.jobs):
            copies.put(copy_checkout(ROOT, Path(folder, str(number))))

        def test(mutant: Mutant) -> tuple[Mutant, bool]:
            checkout = copies.get()
            try:
                return mutant, is_killed(mutant, checkout)
            finally:
                copies.put(checkout)

        with ThreadPoolExecutor(options.jobs) as pool:
            for mutant, killed in tqdm(pool.map(test, todo), total=len(todo), unit="mutant"):
                results[mutant.key] = killed
                file.write(json.dumps({"mutant": mutant.key, "killed": killed}) + "\n")
                file.flush()
    print(*_summary(mutants, results), sep="\n")


def _read(log: Path) -> dict[str, bool]:
    if not log.exists():
        return {}
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return {record["mutant"]: record["killed"] for record in records}


def _summary(mutants: list[Mutant], results: dict[str, bool]) -> list[str]:
    """List the survivors, then a Markdown table of the rates per package."""
    reasons = json.loads(EQUIVALENT.read_text(encoding="utf-8"))
    survivors = [m for m in mutants if not results[m.key] and m.key not in reasons]
    lines = [f"survived: {m.path}:{m.line}: {m.before} → {m.after}" for m in survivors]
    lines += ["", "| package | mutants | equivalent | killed | survived | detected |"]
    lines.append("|---|---|---|---|---|---|")
    counts = {source: Counter[str]() for source in (*TESTS, "all")}
    for mutant in mutants:
        state = "killed" if results[mutant.key] else "survived"
        if state == "survived" and mutant.key in reasons:
            state = "equivalent"
        for source in (next(s for s in TESTS if mutant.path.startswith(s)), "all"):
            counts[source][state] += 1
    for source, count in counts.items():
        detectable = count["killed"] + count["survived"]
        share = f"{count['killed'] / detectable:.0%}" if detectable else "–"
        cells = (source, count.total(), count["equivalent"], count["killed"], count["survived"])
        lines.append("| " + " | ".join(map(str, (*cells, share))) + " |")
    return lines


if __name__ == "__main__":
    main()
