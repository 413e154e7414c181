"""The disturbances of the cluster while a sweep trains on it."""

from __future__ import annotations

import gzip
from dataclasses import replace
from functools import partial
from pathlib import Path
from signal import SIGKILL

from examples.cluster.servers import dask
from examples.cluster.site import Site
from pipeline.execution.dask.environment import environment
from tests.torture.command import run
from tests.torture.damage import fashion_mnist
from tests.torture.lab import Lab
from tests.torture.results import results
from tests.torture.trials import Kind, Outcome, Spot

IMAGES = ("data=fashion_mnist", "data.dir=images", "batch_size=5", "num_epochs=3")
SMALL = ("-m", *IMAGES, "hidden_size=8,16", "seed=0,1")
SAME = "metrics and weights equal the results of one machine; each job FINISHED once"


def calm(site: Site, lab: Lab, spot: Spot) -> Outcome:
    """Disturb nothing."""
    with dask(spot.folder / "cluster", 2) as cluster:
        outcome = site.end(spot, site.start(spot, cluster), "undisturbed", "undisturbed")
    if site.machines(spot) != 2:
        return replace(outcome, problems=[*outcome.problems, "one worker did it all"])
    return outcome


def kill(site: Site, lab: Lab, spot: Spot) -> Outcome:
    """SIGKILL to a worker and its nanny; another is started in its place."""
    with dask(spot.folder / "cluster", 2) as cluster:
        command = site.start(spot, cluster)
        point, kind = site.strike(spot, command)
        spot.rng.choice(cluster.workers).kill()
        cluster.add_worker()
        return site.end(spot, command, point, kind)


def late(site: Site, lab: Lab, spot: Spot) -> Outcome:
    """One worker begins, another joins in."""
    with dask(spot.folder / "cluster", 1) as cluster:
        command = site.start(spot, cluster)
        point, kind = site.strike(spot, command, share=0.3)  # there must be work left for it
        cluster.add_worker()
        outcome = site.end(spot, command, point, kind)
    if site.machines(spot) != 2:
        return replace(outcome, problems=[*outcome.problems, "the late worker did nothing"])
    return outcome


def scheduler(site: Site, lab: Lab, spot: Spot) -> Outcome:
    """SIGKILL to the scheduler; it and two workers are started again."""
    with dask(spot.folder / "cluster", 2) as cluster:
        command = site.start(spot, cluster)
        point, kind = site.strike(spot, command, share=0.8)
        cluster.scheduler.kill()
        cluster.start()
        for _ in range(2):
            cluster.add_worker()
        said = ["has gone: waiting for it", "is back"] if kind == "in training" else []
        return site.end(spot, command, point, kind, *said)


def command(site: Site, lab: Lab, spot: Spot) -> Outcome:
    """SIGKILL to the command; its workers must stop, and the same command resume."""
    with dask(spot.folder / "cluster", 2) as cluster:
        killed = site.start(spot, cluster)
        point, kind = site.strike(spot, killed)
        killed.signal(SIGKILL, group=True)
        killed.end()
        return site.end(spot, site.start(spot, cluster), point, kind)


def versions(site: Site, lab: Lab, spot: Spot) -> Outcome:
    """One of the workers computes with the kernels of another processor."""
    other = "Sandybridge" if environment()["BLAS"].endswith("Haswell") else "Haswell"
    with dask(spot.folder / "cluster", 0) as cluster:
        cluster.add_worker(more={"OPENBLAS_CORETYPE": other})
        cluster.add_worker()
        command = site.start(spot, cluster)
        said = ["is not used: its BLAS is", "set OPENBLAS_CORETYPE"]
        outcome = site.end(spot, command, f"OPENBLAS_CORETYPE={other}", "at the start", *said)
    if site.machines(spot) != 1:
        return replace(outcome, problems=[*outcome.problems, "the other worker was used"])
    return outcome


def data(site: Site, lab: Lab, spot: Spot) -> Outcome:
    """One of three workers has no data, one has other data; paths are relative to each."""
    (spot.folder / "nowhere").mkdir()
    _write(spot.folder / "images", change=0)  # where the command runs
    _write(spot.folder / "there" / "images", change=0)
    _write(spot.folder / "other" / "images", change=1)
    with dask(spot.folder / "cluster", 0) as cluster:
        for name in ("nowhere", "other", "there"):
            cluster.add_worker(place=spot.folder / name)
        run(spot.folder / "alone", *SMALL)
        alone = results(spot.folder / "alone" / "mlflow.db")
        small = replace(site, lab=replace(lab, reference=alone))
        command = small.start(spot, cluster, *SMALL)
        said = ["holds other data than the machine of the sweep", "does not exist"]
        outcome = small.end(spot, command, "one has none, one others", "at the start", *said)
    if site.machines(spot) != 1:
        return replace(outcome, problems=[*outcome.problems, "a worker without data was used"])
    return outcome


def _write(folder: Path, change: int) -> None:
    """The files of a small Fashion-MNIST, perhaps with one pixel changed."""
    folder.mkdir(parents=True)
    for name, content in fashion_mnist().items():
        content = content[:-1] + bytes([(content[-1] + change) % 10])
        (folder / name).write_bytes(gzip.compress(content, 1, mtime=0))


def kinds(site: Site, kills: int) -> list[Kind]:
    """All trials there are."""
    return [
        Kind("calm", "two workers, nothing else", SAME, partial(calm, site), 1, 1),
        Kind("kill", "SIGKILL to a worker at a random point, and a new one in its place", SAME,
             partial(kill, site), kills, 1),
        Kind("late", "a second worker joins at a random point", "equal results; it trains jobs too",
             partial(late, site), 1, 0),
        Kind("scheduler", "SIGKILL to the scheduler at a random point; it and two workers are "
             "started again", SAME, partial(scheduler, site), 3, 0),
        Kind("command", "SIGKILL to the command at a random point, then the same command", SAME,
             partial(command, site), 2, 0),
        Kind("versions", "one of two workers has the BLAS kernels of another processor",
             "the log says why it is not used; the other does all", partial(versions, site), 1, 0),
        Kind("data", "of three workers one has no data, one has other data", "likewise",
             partial(data, site), 1, 0),
    ]  # fmt: skip
