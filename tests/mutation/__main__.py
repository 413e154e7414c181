"""python -m tests.mutation [--count 300] [--seed 0]: run the tests against a sample of mutants.

Each verdict is appended to outputs/mutants.jsonl; the same command resumes after an interruption.
`equivalent.json` lists mutants that do not change the behaviour, with the reason; they are not run.
The section "Mutation testing" of CONTRIBUTING.md has the results.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from tests.mutation.reach import Reach
from tests.mutation.run import Verdict, copy_checkout, judge
from tests.mutation.sample import SOURCES, Mutant, draw

ROOT = Path(__file__).parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent.json")
VERDICTS = ROOT / "outputs" / "mutants.jsonl"
MEASURED = ROOT / "outputs" / "mutants-tests.json"


def main() -> None:
    """Run the sample; print the survivors, the timeouts and the rate of detection per package."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="mutants to draw (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (default: 2)")
    parser.add_argument("--only", default="", help="only files whose path begins with this")
    parser.add_argument("--again", action="store_true", help="test the survivors again")
    options = parser.parse_args()
    VERDICTS.parent.mkdir(parents=True, exist_ok=True)
    mutants = draw(ROOT, options.count, options.seed)
    mutants = [mutant for mutant in mutants if mutant.path.startswith(options.only)]
    verdicts = _read_verdicts()
    todo = [
        mutant
        for mutant in mutants
        if mutant.key not in _reasons()
        and (mutant.key not in verdicts or (options.again and not verdicts[mutant.key].is_detected))
    ]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder, VERDICTS.open("a") as file:
        copies = [copy_checkout(ROOT, Path(folder, str(i))) for i in range(options.jobs)]
        reach = Reach(MEASURED, ROOT, copies[0])
        for number, verdict in enumerate(judge(todo, copies, reach), 1):
            verdicts[verdict.mutant] = verdict
            print(f"{number}/{len(todo)} {verdict.result} {verdict.mutant} {verdict.test}")
            file.write(json.dumps(asdict(verdict), ensure_ascii=False) + "\n")
            file.flush()
    print(*_summary(mutants, verdicts), sep="\n")


def _reasons() -> dict[str, str]:
    reasons: dict[str, str] = json.loads(EQUIVALENT.read_text(encoding="utf-8"))
    return reasons


def _read_verdicts() -> dict[str, Verdict]:
    if not VERDICTS.exists():
        return {}
    lines = VERDICTS.read_text(encoding="utf-8").splitlines()
    verdicts = (Verdict(**json.loads(line)) for line in lines)
    return {verdict.mutant: verdict for verdict in verdicts}


def _summary(mutants: list[Mutant], verdicts: dict[str, Verdict]) -> list[str]:
    """List the survivors and the timeouts, then a Markdown table of the rates per package."""
    reasons = _reasons()
    counts = {source: Counter[str]() for source in (*SOURCES, "all")}
    lines = []
    for mutant in mutants:
        if mutant.key in reasons:
            state = "equivalent"
        else:
            result = verdicts[mutant.key].result
            state = "killed" if verdicts[mutant.key].is_detected else "survived"
            if result != "killed":
                place = f"{mutant.path}:{mutant.line}"
                lines.append(f"{result}: {place}: {mutant.before} → {mutant.after}")
        for source in (next(s for s in SOURCES if mutant.path.startswith(s)), "all"):
            counts[source][state] += 1
    lines += ["", "| package | mutants | equivalent | killed | survived | detected |"]
    lines.append("|---|---|---|---|---|---|")
    for source, count in counts.items():
        if not count:
            continue
        detectable = count["killed"] + count["survived"]
        share = f"{count['killed'] / detectable:.0%}" if detectable else "–"
        cells = (source, count.total(), count["equivalent"], count["killed"], count["survived"])
        lines.append("| " + " | ".join(map(str, (*cells, share))) + " |")
    return lines


if __name__ == "__main__":
    main()
