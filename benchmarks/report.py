"""Write docs/benchmarks.md, .svg and .json from the results of the parts.

python -m benchmarks.report; with another mode than full, into outputs/bench/ instead of docs/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.measure import Mode, arguments, results_dir
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
There are 16 models each of H = 32, 64, 128 and 256, with batch size 200, in float32, on random
images. The time includes the gather of the mini-batch: one for all models that train together, or
one per model. This trainer and the floor run as one process per core with one BLAS thread each, and
the slowest process counts. All other contenders run in one process, with 1 thread and with as many
as there are cores; the table shows the faster variant (processes × threads). scikit-learn takes the
step as one `partial_fit` on 200 images. ParallelMLPs is the method of Farias et al. (2023): one
wide layer for all models.

The floor contains X W1 and Xᵀ dH0 of every model and nothing else. It is the limit for any trainer
with this BLAS. The gap between the floor and this trainer has three causes. The three products with
W2 have only C = 10 columns, and BLAS computes them at less than half of its full speed; at D = 64
they take about half as long as the floor. ReLU, its gradient and the softmax pass over arrays of N
× H and N × C entries, at the bandwidth of the cache. The update and the penalty pass over W1 three
times. Fused passes would need compiled code, which can save at most the second and the third part.
"""
CORES_NOTES = """\
All cases use D = 3072 and batch size 200. A model of H = 1024 consists of two tiles. Threads share
the tiles of all models and the blocks of their updates ([How a step is computed](model.md)). The
weights do not depend on the number of threads. Momentum is measured on 8 models of H = 128 with one
thread; it needs two more passes over W1 and its velocity.
"""
SWEEP_NOTES = """\
Wall time from the command to its report, each time with an empty store. All contenders train the
same grid on the same training images and validate on the same other images. This project limits
BLAS to one thread, so `hydra/launcher=basic` has no better number of threads. The peers are in
`benchmarks/peers/`. PyTorch indexes tensors in memory, which is faster here
than its DataLoader. Ray Tune reuses its workers and writes its own records, without MLflow.
scikit-learn has no decay of the learning rate and scores a model only after its last epoch. Optuna
ran with one and with two trials at a time; the table shows the faster variant. Initial weights and
the order of the images differ between the contenders; the best validation accuracy shows that all
did the same work. The file task.json describes the data, the values and the grid to a peer.
"""
PHASE_NOTES = """\
A second table shows the same sweep with timers inside (`python -m benchmarks.phases`). Training
runs in the background while the main thread logs to MLflow, so the sum may exceed the whole.
"""
JOB_NOTES = """\
Sweeps of tiny one-epoch jobs (H = 4, digits). The cost of a job is (time of n jobs − time of 2
jobs) / (n − 2). It covers composing, folders, logs and tracking, and for this project the report.
The stock way is a Hydra app with the basic launcher and MLflow's fluent calls
(`benchmarks/peers/stock_hydra.py`). It reads its data once instead of once per
job. Where the stock way was not run, its cost is extrapolated by the slope between the two largest
numbers of jobs.
"""
MEMORY_NOTES = """\
The peak of the sum of the proportional set sizes of all processes (a shared page counts once),
sampled every 50 ms; the highest of all repeats. Data: training and validation images in float32.
Parameters: one copy of all weights of the 64 models.
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table; all columns but the first align to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def number(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread(timing: Timing, scale: float = 1) -> str:
    """Format the median and the quartiles."""
    low, high = timing.spread
    return f"{number(scale * timing.median)} ({number(scale * low)}–{number(scale * high)})"


def target_section(results: Mapping[str, Any]) -> Iterator[str]:
    """The targets, and whether they are met."""
    rows = [(t.what, t.goal, t.value, "met" if t.met else "**not met**") for t in targets(results)]
    yield "## Targets\n"
    yield table(("Medians and their ratios", "Goal", "Measured", ""), rows)


def step_section(part: Mapping[str, Any]) -> Iterator[str]:
    """The time of a step, for each number of features."""
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


def cores_section(part: Mapping[str, Any]) -> Iterator[str]:
    """The time of a step of few or wide models, and with momentum."""
    yield "## Few models, wide models and momentum\n"
    yield CORES_NOTES
    rows = [
        (name, spread(Timing(name, each["seconds"], {}), 1000))
        for name, each in part["cases"].items()
    ]
    yield table(("Case", "ms per step (quartiles)"), rows)


def sweep_section(part: Mapping[str, Any], title: str) -> Iterator[str]:
    """The time of a whole sweep, and its phases."""
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
        yield f"These contenders failed: {', '.join(failed)}.\n"
    yield from phase_table(part["contenders"]["population, timed"])


def phase_table(samples: Mapping[str, Any]) -> Iterator[str]:
    """The phases of a sweep of this project."""
    if not (phases := samples["notes"].get("phases")):
        return
    seconds = {
        phase: float(np.median([repeat.get(phase, 0) for repeat in phases])) for phase in phases[0]
    }
    yield f"Phases of `{samples['command'][:60]}…`:\n"
    yield table(
        ("Phase", "s", "share of the whole"),
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
        yield "There is no result: a sweep failed.\n"
        return
    rows = []
    for jobs in sorted(ours)[1:]:
        mine, theirs = cost_per_job(ours, jobs), cost_per_job(stock, jobs)
        whole = spread(stock[jobs]) if jobs in stock else "extrapolated"
        costs = (f"{1000 * mine:.1f}", f"{1000 * theirs:.0f}", f"{mine / theirs:.3f}")
        rows.append((f"{jobs:,}", spread(ours[jobs]), whole, *costs))
    head = ("Jobs", "this project, s", "stock, s", "ms a job", "stock, ms a job", "ratio")
    yield table(head, rows)
    examples = [f"`{part['ways'][way]['2']['command']}`" for way in ("population", "stock")]
    yield f"Commands: {' and '.join(examples)}, with longer lists of values.\n"
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
        (f"peak, after {when:.0f} of {np.median(seconds):.0f} s", max(peaks)),
    ]
    yield table(("", "MB"), [(name, f"{each / 1e6:,.0f}") for name, each in rows])
    yield f"Command: `{part['sweep']['command']}`.\n"


def machine_section(results: Mapping[str, Any]) -> Iterator[str]:
    """The hardware and the versions of the software."""
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


def document(results: Mapping[str, Any], mode: Mode) -> str:
    """Compose the page."""
    parts = ["# Benchmarks\n"]
    if mode is Mode.SMOKE:
        parts.append("**Measured with `--mode smoke`. The numbers are meaningless.**\n")
    parts.append(
        "`make bench` writes this page. It runs `python -m benchmarks.step`, `.cores`, `.sweep`,\n"
        "`.jobs`, `.memory` and `.report`. All numbers are medians of interleaved repeats, with\n"
        "quartiles. [benchmarks.json](benchmarks.json) contains the measurements.\n\n"
        "![The times of all contenders as bars](benchmarks.svg)\n"
    )
    parts += target_section(results)
    if "step" in results:
        parts += step_section(results["step"])
    if "cores" in results:
        parts += cores_section(results["cores"])
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
    """Write the three files, and print the targets."""
    mode = arguments(__doc__, repeats=0).parse_args(argv).mode
    folder = ROOT / "docs" if mode is Mode.FULL else results_dir(mode)
    results = load(mode)
    (folder / "benchmarks.md").write_text(document(results, mode))
    (folder / "benchmarks.json").write_text(
        json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    )
    draw(results, folder / "benchmarks.svg")
    for target in targets(results):
        verdict = "met" if target.met else "NOT MET"
        print(f"{target.what:75} {target.goal:>15} {target.value:>8}  {verdict}")
    print(f"wrote {folder / 'benchmarks.md'}, .svg and .json")


if __name__ == "__main__":
    main()
