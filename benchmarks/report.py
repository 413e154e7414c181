"""Write docs/benchmarks.md, .svg and .json from what the parts have measured.

python -m benchmarks.report; with --quick into outputs/bench/quick/ instead of docs/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.measure import arguments, results_dir
from benchmarks.picture import draw
from benchmarks.results import (
    Timing,
    cost_per_job,
    job_timings,
    load,
    memory_bound,
    step_timings,
    sweep_timings,
    targets,
)
from pipeline.paths import ROOT

STEP_NOTES = """\
16 models each of H = 32, 64, 128 and 256, batch 200, float32, random images. A step includes the
gather of its mini-batch: once for all models where they train together, once a model where they
train one after another. The trainer and the floor run as one process a core, one BLAS thread each,
the slower counts. The floor is X W1 and Xᵀ dH of every model and nothing else. All others run in
one process with 1 thread and with as many as there are cores: the better is shown (named in the
last column, processes × threads). scikit-learn makes the step as one `partial_fit` on 200 images.
"""
SWEEP_NOTES = """\
Wall clock from the command to its report, each time from an empty store. All train the same grid on
the same training images and validate on the same others. The trainer keeps BLAS at one thread by
itself, so `hydra/launcher=basic` has no better thread count. The peers are in
[benchmarks/peers/](../benchmarks/peers): PyTorch indexes tensors in memory, which is faster here
than its DataLoader; Ray Tune reuses its workers and keeps its own records, without MLflow;
scikit-learn has no decay of the learning rate, and scores a model after its last epoch only. Optuna
ran with one and with two trials at a time: the better is shown. The best validation accuracy shows
that all did the same job; initial weights and the order of the images differ. task.json tells a
peer the data, the values and the grid.
"""
PHASE_NOTES = """\
The same sweep with timers inside (`python -m benchmarks.phases`). Training runs in the background
while the main thread tracks, so the phases may add up to more than the whole.
"""
JOB_NOTES = """\
Sweeps of tiny one-epoch jobs (H = 4, digits). A job's cost is the time of n jobs less that of two,
over n − 2: composing, folders, logs, tracking, and for this project its report as well. The stock
way is a Hydra app with the basic launcher and fluent MLflow calls
([stock_hydra.py](../benchmarks/peers/stock_hydra.py)); it reads its data once, not once a job.
Where it was not run, its cost is extrapolated by the slope between the two numbers of jobs before.
"""
MEMORY_NOTES = """\
The sum of the proportional set sizes of all processes (a shared page counts once), sampled every
50 ms; the highest of the repeats. Data: training and validation images in float32. Parameters: one
copy of all weights of the 64 models.
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread(timing: Timing, scale: float = 1) -> str:
    """The median with its quartiles."""
    low, high = timing.spread
    return f"{number(scale * timing.median)} ({number(scale * low)}–{number(scale * high)})"


def target_section(results: Mapping[str, Any]) -> Iterator[str]:
    """What must be seen, met or not."""
    rows = [(t.what, t.goal, t.value, "met" if t.met else "**not met**") for t in targets(results)]
    yield "## What must be seen\n"
    yield table(("Ratio of medians", "Goal", "Measured", ""), rows)


def step_section(part: Mapping[str, Any]) -> Iterator[str]:
    """One step, at each number of features."""
    yield "## One training step of 64 models\n"
    yield STEP_NOTES
    for D in part["sizes"]:
        timings = step_timings(part, D)
        ours = timings["this trainer"].median
        yield f"D = {D}, {len(timings['this trainer'].seconds)} interleaved repeats:\n"
        yield table(
            ("", "ms (quartiles)", "÷ this trainer", "variant"),
            [
                (group, spread(each, 1000), f"{each.median / ours:.2f}", each.variant)
                for group, each in timings.items()
            ],
        )


def sweep_section(part: Mapping[str, Any], title: str) -> Iterator[str]:
    """A whole sweep, and where its time goes."""
    timings = sweep_timings(part)
    grid, values = part["grid"], part["values"]
    swept = " × ".join(f"{len(v)} {key}" for key, v in grid.items())
    yield f"### {title}: {swept}, {values['epochs']} epochs, batch {values['batch_size']}\n"
    ours = timings.get("this project")
    yield table(
        ("", "s (quartiles)", "÷ this project", "repeats", "best val_acc", "command"),
        [
            (
                group,
                spread(each),
                f"{each.median / ours.median:.2f}" if ours else "",
                str(len(each.seconds)),
                f"{each.notes['best_val_acc']:.4f}",
                f"`{part['contenders'][each.variant]['command']}`",
            )
            for group, each in timings.items()
        ],
    )
    failed = [name for name, samples in part["contenders"].items() if samples["failures"]]
    if failed:
        yield f"Failed, and left out: {', '.join(failed)}.\n"
    yield from phase_table(part["contenders"]["population, timed"])


def phase_table(samples: Mapping[str, Any]) -> Iterator[str]:
    """Where the time of this project's sweep goes."""
    if not (phases := samples["notes"].get("phases")):
        return
    seconds = {
        phase: float(np.median([repeat.get(phase, 0) for repeat in phases])) for phase in phases[0]
    }
    yield f"Where the time goes (`{samples['command'][:60]}…`):\n"
    yield table(
        ("", "s", "of the whole"),
        [
            (phase, number(each), f"{100 * each / seconds['whole']:.1f} %")
            for phase, each in seconds.items()
        ],
    )


def job_section(part: Mapping[str, Any]) -> Iterator[str]:
    """The fixed cost of a job."""
    ours, stock = job_timings(part, "population"), job_timings(part, "stock")
    yield "## Fixed cost of a job\n"
    yield JOB_NOTES
    if min(len(ours), len(stock)) < 2:
        yield "Not measured: sweeps failed.\n"
        return
    rows = []
    for jobs in sorted(ours)[1:]:
        mine, theirs = cost_per_job(ours, jobs), cost_per_job(stock, jobs)
        whole = spread(stock[jobs]) if jobs in stock else "not run: extrapolated"
        costs = (f"{1000 * mine:.1f}", f"{1000 * theirs:.0f}", f"{mine / theirs:.3f}")
        rows.append((f"{jobs:,}", spread(ours[jobs]), whole, *costs))
    head = ("Jobs", "this project, s", "stock, s", "ms a job", "stock, ms a job", "ratio")
    yield table(head, rows)
    examples = [f"`{part['ways'][way]['2']['command']}`" for way in ("population", "stock")]
    yield f"Commands: {' and '.join(examples)}, with longer lists.\n"
    for samples in part["ways"]["timed"].values():
        yield from phase_table(samples)


def memory_section(part: Mapping[str, Any]) -> Iterator[str]:
    """Peak memory."""
    notes, seconds = part["sweep"]["notes"], part["sweep"]["seconds"]
    peaks, bound = notes["peak_bytes"], memory_bound(part)
    yield "## Peak memory\n"
    yield MEMORY_NOTES
    when = notes["peak_at_seconds"][int(np.argmax(peaks))]
    rows = [
        ("data", part["data_bytes"]),
        ("parameters", part["params_bytes"]),
        ("1.3 × (data + 3 × parameters) + 300 MB", bound),
        (f"peak, {when:.0f} s into {np.median(seconds):.0f} s", max(peaks)),
    ]
    yield table(("", "MB"), [(name, f"{each / 1e6:,.0f}") for name, each in rows])
    yield f"Command: `{part['sweep']['command']}`.\n"


def machine_section(results: Mapping[str, Any]) -> Iterator[str]:
    """What it was measured on and with."""
    machine = next(iter(results.values()))["machine"]
    commits = sorted({each["machine"]["commit"] for each in results.values()})
    yield "## The machine\n"
    rows = [
        ("CPU", machine["cpu"]),
        ("vector units", ", ".join(machine["vector units"]) or "not known"),
        ("cores", str(machine["cores"])),
        ("memory", f"{machine['memory'] / 1e9:.0f} GB"),
        ("system", machine["system"]),
        ("BLAS of NumPy", machine["blas"]),
        *machine["versions"].items(),
        ("commit", "; ".join(commits)),
    ]
    yield table(("", ""), rows)


def document(results: Mapping[str, Any], quick: bool) -> str:
    """The whole page."""
    parts = ["# Benchmarks\n"]
    if quick:
        parts.append("**From `--quick`: it runs. The numbers mean nothing.**\n")
    parts.append(
        "Written by `make bench`, which runs `python -m benchmarks.step`, `.sweep`, `.jobs`,\n"
        "`.memory` and `.report`. Medians of interleaved repeats, with quartiles; the raw numbers\n"
        "are in [benchmarks.json](benchmarks.json).\n\n![Bars of what follows](benchmarks.svg)\n"
    )
    parts += target_section(results)
    if "step" in results:
        parts += step_section(results["step"])
    parts += ["## A whole sweep\n", SWEEP_NOTES, PHASE_NOTES]
    for name, title in (("digits", "Digits"), ("cifar10", "CIFAR-10")):
        if f"sweep-{name}" in results:
            parts += sweep_section(results[f"sweep-{name}"], title)
        else:
            parts.append(f"### {title}: not measured\n")
    if "jobs" in results:
        parts += job_section(results["jobs"])
    if "memory" in results:
        parts += memory_section(results["memory"])
    parts += machine_section(results)
    return "\n".join(parts)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the three files."""
    quick = arguments(__doc__, repeats=0).parse_args(argv).quick
    folder = results_dir(quick) if quick else ROOT / "docs"
    results = load(quick)
    (folder / "benchmarks.md").write_text(document(results, quick))
    (folder / "benchmarks.json").write_text(
        json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    )
    draw(results, folder / "benchmarks.svg")
    print(f"{folder / 'benchmarks.md'}, .svg and .json")


if __name__ == "__main__":
    main()
