"""Ends or deletes runs that crashed processes and lost answers of a server have left."""

from __future__ import annotations

import platform

from pipeline.process import this_process
from pipeline.tracking.entities import FinishedRun, Sweep, job_number
from pipeline.tracking.errors import translate_errors
from pipeline.tracking.provenance import is_dead
from pipeline.tracking.store import Store


@translate_errors("end the runs of dead processes")
def kill_orphaned_runs(store: Store) -> None:
    """End runs that dead processes left RUNNING as KILLED. Runs of live processes stay."""
    running = list(store.search("attributes.status = 'RUNNING' AND tags.pid != ''"))
    tags_of = {run.info.run_id: run.data.tags for run in running}
    for run in running:
        parent = tags_of.get(run.data.tags.get("mlflow.parentRunId", ""), {})
        heartbeat = {"heartbeat": parent["heartbeat"]} if "heartbeat" in parent else {}
        if is_dead(run.data.tags | heartbeat):
            store.client.set_terminated(run.info.run_id, "KILLED")


@translate_errors("end the running jobs of the sweep")
def kill_running_jobs(store: Store, sweep: Sweep) -> None:
    """End the jobs of a sweep that lost machines left RUNNING as KILLED."""
    query = f"{sweep.children} AND attributes.status = 'RUNNING'"
    for run in list(store.search(query, sweep.experiment_id)):
        store.client.set_terminated(run.info.run_id, "KILLED")


@translate_errors("claim the jobs of a lost worker")
def claim_shard(store: Store, sweep: Sweep, shard: str) -> dict[int, FinishedRun]:
    """Take a shard over from a machine that was lost.

    Runs that it left RUNNING end as KILLED. Of several finished runs of a job, the oldest stays.

    Returns:
        The finished runs by the number of their job.
    """
    found: dict[int, FinishedRun] = {}
    query = f"{sweep.children} AND tags.shard = '{shard}'"
    for run in reversed(list(store.search(query, sweep.experiment_id))):
        job = job_number(run)
        if run.info.status == "RUNNING":
            store.client.set_terminated(run.info.run_id, "KILLED")
        elif run.info.status == "FINISHED" and job in found:
            store.client.delete_run(run.info.run_id)
        elif run.info.status == "FINISHED" and job is not None:
            found[job] = FinishedRun.from_run(run)
    return found


@translate_errors("delete duplicate runs")
def delete_duplicate_runs(store: Store, sweep: Sweep) -> None:
    """Delete runs that a server created twice for this process.

    If the answer of a server is lost, MLflow's client sends the request again, and the server
    creates a second run. It stays RUNNING.
    """
    if not store.uri.startswith("http"):
        return
    _, _, pid, started = this_process()
    own = f"tags.pid = '{pid}' AND tags.pid_started = '{started}'"
    runs = [
        run
        for run in store.search(own, sweep.experiment_id)
        if run.data.tags.get("host") == platform.node()
    ]
    ended = {run.data.tags.get("job") for run in runs if run.info.status != "RUNNING"}
    for run in runs:
        job, run_id = run.data.tags.get("job"), run.info.run_id
        is_duplicate = job in ended if job is not None else run_id != sweep.run_id
        if run.info.status == "RUNNING" and is_duplicate:
            store.client.delete_run(run_id)
