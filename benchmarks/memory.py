"""Peak memory of a sweep of CIFAR-10's size: python -m benchmarks.memory.

The sum of the proportional set sizes (PSS: shared pages count once) of all processes of the
sweep is sampled while it runs. Without $CIFAR10_DIR, the files contain random images.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import psutil

from benchmarks.contenders import CLASSES
from benchmarks.measure import Mode, Samples, arguments, check, fresh_folder, save, show, start
from benchmarks.sweep import SWEEP, cifar10
from pipeline.data.kinds.cifar10 import LAYOUT, TEST, TRAIN
from pipeline.execution.plan import model_bytes

SAMPLE_SECONDS = 0.05


def write_images(folder: Path, rows: int) -> None:
    """Write batches of random images in CIFAR-10's binary layout."""
    rng = np.random.default_rng(0)
    for name in TRAIN + TEST:
        batch = rng.integers(256, size=(rows, LAYOUT.row_bytes), dtype=np.uint8)
        batch[:, 0] %= CLASSES
        batch.tofile(folder / name)


def peak_memory(command: Sequence[str], folder: Path, samples: Samples) -> None:
    """Run a command, and record the peak of its memory and the time of the peak."""
    began = time.perf_counter()
    process = start(command, folder)
    peak, peak_at = 0, 0.0
    while process.poll() is None:
        now = tree_memory(process.pid)
        if now > peak:
            peak, peak_at = now, time.perf_counter() - began
        time.sleep(SAMPLE_SECONDS)
    samples.seconds.append(time.perf_counter() - began)
    samples.command = show(command)
    samples.notes.setdefault("peak_bytes", []).append(peak)
    samples.notes.setdefault("peak_at_seconds", []).append(peak_at)
    check(process.returncode, command, folder, samples)


def tree_memory(pid: int) -> int:
    """The memory of a process and all its descendants, in bytes."""
    total = 0
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in tree:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # the process has ended
            continue
    return total


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the peak, and record the sizes of the data and of the parameters."""
    options = arguments(__doc__, repeats=3).parse_args(argv)
    samples, smoke = Samples(), options.mode is Mode.SMOKE
    with fresh_folder() as images:
        if not os.environ.get("CIFAR10_DIR"):
            write_images(images, 500 if smoke else 10_000)
            os.environ["CIFAR10_DIR"] = str(images)
            samples.notes["images"] = "random"
        overrides, task = cifar10(smoke)
        data = task.load()
        sizes = {
            "data_bytes": data.X_train.nbytes + data.X_val.nbytes,
            "params_bytes": sum(
                model_bytes(task.job(choice), data.X_train.shape[1], CLASSES) // 2
                for choice in task.choices()
            ),
        }
        del data
        for _ in range(1 if smoke else options.repeats):
            with fresh_folder() as folder:
                peak_memory([*SWEEP, *overrides], folder, samples)
            save("memory", options.mode, {**sizes, "sweep": asdict(samples)})


if __name__ == "__main__":
    main()
