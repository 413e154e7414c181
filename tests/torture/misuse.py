"""Faults of daily use: moved outputs, foreign runs, missing artifacts, closed streams."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

from tests.torture.command import run
from tests.torture.kill import ids_of_finished
from tests.torture.lab import Lab, no_traceback, not_well
from tests.torture.results import jobs_of, problems, read_runs, report_problems
from tests.torture.trials import Kind, Outcome, Spot

UNSHARE = ["unshare", "-Upf", "--map-root-user", "--mount-proc"]
ODD_TAGS = {
    "mlflow.source.name": "pipeline",
    "kind": "job",
    "job": "x",
    "heartbeat": "soon",
    "pid": "many",
    "outcome": "finished",
    "fingerprint": "0",
    "artifacts": "{",
    "learning_rate": "1e400",
}


def moved(lab: Lab, spot: Spot) -> Outcome:
    """Move the outputs of a finished sweep, then rerun the command there: nothing is trained."""
    first, second = spot.folder / "first", spot.folder / "a b%20#é"
    shutil.copytree(lab.finished, spot.folder / "outputs", symlinks=True)
    (spot.folder / "outputs").rename(first)
    found = not_well(run(first, *lab.sweep))
    before = ids_of_finished(first)
    first.rename(second)
    problems_found = [*found, *not_well(run(second, *lab.sweep))]
    if first.exists():
        problems_found.append("the old folder was created again")
    if ids_of_finished(second) != before:
        problems_found.append("jobs were trained again")
    report = second / "reports" / "latest" / "report.json"
    return Outcome(
        second.name, [*problems_found, *report_problems(report, lab.reference)], ["moved"]
    )


def foreign(lab: Lab, spot: Spot) -> Outcome:
    """Add a run of another program with odd tags to the store, then run the sweep."""
    outputs = lab.outputs(spot.folder)
    found = not_well(run(outputs, "num_epochs=1"))
    tags = dict(spot.rng.sample(sorted(ODD_TAGS.items()), spot.rng.randint(1, len(ODD_TAGS))))
    with closing(sqlite3.connect(outputs / "mlflow.db", timeout=60)) as store, store:
        store.execute("UPDATE runs SET status = 'RUNNING', end_time = NULL")
        store.execute("DELETE FROM tags")
        (run_id,) = store.execute("SELECT run_uuid FROM runs").fetchone()
        rows = [(key, value, run_id) for key, value in tags.items()]
        store.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", rows)
    ended = run(outputs, *lab.sweep)
    report = outputs / "reports" / "latest" / "report.json"
    found_all = [*found, *not_well(ended), *report_problems(report, lab.reference)]
    own = [one for one in jobs_of(read_runs(outputs / "mlflow.db")) if one.run_id != run_id]
    if [one.status for one in own] != ["FINISHED"] * len(lab.reference):
        found_all.append(f"{len(own)} jobs: {sorted(one.status for one in own)}")
    return Outcome(", ".join(tags), found_all, ["foreign"])


def artifacts(lab: Lab, spot: Spot) -> Outcome:
    """Delete or damage the weights of some finished runs, then rerun the command."""
    outputs = spot.folder / "outputs"
    first = run(outputs, *lab.sweep)
    weights = sorted((outputs / "mlartifacts").rglob("weights.npz"))
    victims = spot.rng.sample(weights, spot.rng.randint(1, len(weights)))
    how = spot.rng.choice(["deleted", "truncated"])
    for path in victims:
        if how == "deleted":
            path.unlink()
        else:
            os.truncate(path, spot.rng.randrange(path.stat().st_size))
    before = ids_of_finished(outputs)
    again = run(outputs, *lab.sweep)
    found = [*not_well(first), *not_well(again)]
    if len(ids_of_finished(outputs) - before) != len(victims):
        found.append(f"{len(ids_of_finished(outputs) - before)} jobs trained again")
    report = outputs / "reports" / "latest" / "report.json"
    found += report_problems(report, lab.reference)
    return Outcome(f"{len(victims)} of {len(weights)} {how}", found, [how])


def streams(lab: Lab, spot: Spot) -> Outcome:
    """Run the sweep with a full, closed or narrow output stream."""
    outputs = lab.outputs(spot.folder)
    kind = spot.rng.choice([">/dev/full 2>&1", "2>&-", ">&-", "| head -c 1", "2>/dev/full"])
    environment = os.environ | {"PIPELINE_OUTPUTS": str(outputs)}
    if spot.rng.random() < 0.5:
        environment |= {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    command = f'"$0" -m pipeline "$@" {kind}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, *lab.sweep],
        cwd=spot.folder,
        env=environment,
        capture_output=True,
        check=False,
        timeout=200,
    )
    found = [*problems(outputs, lab.reference)]
    if found:
        found.append(f"exit {done.returncode}: {(done.stdout + done.stderr)[-300:]!r}")
    return Outcome(kind, found, [kind.split()[0]])


def containers(lab: Lab, spot: Spot) -> Outcome:
    """Run two sweeps in two PID namespaces that share the outputs and the temporary folder."""
    if subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        return Outcome("no PID namespaces on this system", [], ["skipped"])
    outputs = lab.outputs(spot.folder)
    (spot.folder / "tmp").mkdir(exist_ok=True)
    environment = os.environ | {
        "PIPELINE_OUTPUTS": str(outputs),
        "TMPDIR": str(spot.folder / "tmp"),
    }
    logs = [spot.folder / f"sweep-{i}.log" for i in range(2)]
    sweeps = []
    for log in logs:
        with log.open("wb") as output:
            command = [*UNSHARE, sys.executable, "-m", "pipeline", *lab.sweep]
            sweeps.append(
                subprocess.Popen(
                    command, cwd=spot.folder, env=environment, stdout=output, stderr=output
                )
            )
    codes = [sweep.wait(200) for sweep in sweeps]
    found = [
        f"exit {code}: {log.read_text()[-300:]}"
        for code, log in zip(codes, logs, strict=True)
        if code
    ]
    found += problems(outputs, lab.reference, times=2)
    killed = [one for one in read_runs(outputs / "mlflow.db") if one.status == "KILLED"]
    if killed:
        found.append(f"{len(killed)} runs were KILLED by the other sweep")
    return Outcome("two namespaces", found, ["two namespaces"])


def changed(lab: Lab, spot: Spot) -> Outcome:
    """Train on files, change a pixel, and rerun the command: every job is trained again."""
    outputs, data = lab.outputs(spot.folder), spot.folder / "data.npz"
    code = (
        "import numpy as np, sys; g = np.random.default_rng(0); X = g.random((90, 8), np.float32);"
        "X[int(sys.argv[2]), 0] += float(sys.argv[3]); y = np.arange(90) % 3;"
        "np.savez(sys.argv[1], X=X, y=y)"
    )
    row = spot.rng.randrange(90)
    sweep = ("-m", "data=npz", f"data.file={data}", "hidden_size=4,8", "num_epochs=2")
    sweep = (*sweep, "batch_size=20")
    found = []
    counts = []
    for value in ("0", "0", "1"):
        subprocess.run([sys.executable, "-c", code, data, str(row), value], check=True)
        ended = run(outputs, *sweep)
        found += [*no_traceback(ended)]
        if ended.code:
            found.append(f"exit {ended.code}: {ended.last_lines}")
        counts.append(len(ids_of_finished(outputs)))
    test_row = counts == [2, 2, 2]  # a changed test image does not influence training
    if counts != [2, 2, 4] and not test_row:
        found.append(f"finished runs after each command: {counts}")
    return Outcome(f"row {row}", found, ["test data" if test_row else "training data"])


KINDS = [
    Kind("moved", "the outputs of a finished sweep are moved to a folder with odd characters; then "
         "the same command", "the old folder is not created; no job is trained again", moved, 4, 0),
    Kind("foreign", "a RUNNING run of another program with odd tags is in the store", "the sweep "
         "and its report are complete", foreign, 6, 0),
    Kind("artifacts", "weights of finished runs are deleted or truncated; then the same command",
         "exactly these jobs are trained again", artifacts, 5, 0),
    Kind("streams", "standard output or standard error is full, closed or narrow", "the results "
         "equal an undisturbed sweep", streams, 10, 0),
    Kind("containers", "two sweeps at once in two PID namespaces that share all folders", "no run "
         "is KILLED; the results equal an undisturbed sweep", containers, 4, 0),
    Kind("changed", "a value of a data file changes between two commands", "the jobs are trained "
         "again if the training or validation data changed", changed, 6, 0),
]  # fmt: skip
