"""The Dask scheduler: which workers it has, tasks to them and their answers, its return.

Only this and worker.py import Dask.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import logging
import queue
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from pipeline import shutdown
from pipeline.errors import PipelineError

try:
    from distributed import Client, Future, KilledWorker

    from pipeline.execution.dask.worker import ShardResult, Task, facts, train_shard
except ImportError as error:
    raise PipelineError(
        f"hydra.launcher.backend=dask needs Dask ({error}): pip install -e '.[cluster]'"
    ) from error

CONNECT_SECONDS = 5  # within which a scheduler must answer
RETURN_SECONDS = 120  # within which one that is gone must be back
ANSWER_SECONDS = 20  # for a call to one that has answered before
# What a call raises when the scheduler, or who has the answer, is gone.
LOST = (OSError, asyncio.CancelledError, concurrent.futures.CancelledError)

log = logging.getLogger("pipeline")


class Scheduler:
    """A connection to a scheduler; workers are named by their addresses."""

    def __init__(self, address: str) -> None:
        """Connect.

        Raises:
            PipelineError: the address is none, or nobody answers there.
        """
        if not re.fullmatch(r"(tcp|tls)://\S+:\d+", address):
            raise PipelineError(
                "hydra.launcher.scheduler must be tcp://HOST:PORT or tls://HOST:PORT, "
                f"not {address!r}"
            )
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is said here
        self.address = address
        self.facts = facts()
        self._client = self._connect(CONNECT_SECONDS)
        self._futures: dict[Any, Future[ShardResult]] = {}  # by the names of tries
        self._answered: queue.SimpleQueue[Future[ShardResult]] = queue.SimpleQueue()
        self._numbers = itertools.count()

    def close(self) -> None:
        """Leave the scheduler, which forgets what it has of this sweep."""
        with suppress(Exception):  # it may be gone
            self._client.close(timeout=CONNECT_SECONDS)

    def workers(self) -> Mapping[str, int] | None:
        """How many tasks each worker runs at once; None: the scheduler does not answer."""
        with suppress(*LOST):
            if self._client.status == "running":
                threads: Mapping[str, int] = self._client.nthreads(callback_timeout=ANSWER_SECONDS)
                return threads
        return None

    def send(self, worker: str, task: Task) -> str:
        """Give a task to one worker, and to no other; returns the name of this try."""
        key = f"{task.sweep.run_id}-shard-{task.shard}-{next(self._numbers)}"
        future = self._client.submit(train_shard, task, key, key=key, workers=[worker], pure=False)
        self._futures[key] = future
        future.add_done_callback(self._answered.put)
        return key

    def forget(self, key: str) -> None:
        """Have a task no more: a worker that is about it stops."""
        future = self._futures.pop(key, None)
        with suppress(*LOST):
            if future is not None:
                future.cancel()

    def answers(self, seconds: float) -> Iterator[tuple[str, ShardResult | None]]:
        """What has been answered, after some seconds without an answer at most.

        Yields:
            The name of a try, and the answer; None: it got lost on the way.
        """
        with suppress(queue.Empty):
            future = self._answered.get(timeout=seconds)
            while True:
                if self._futures.pop(future.key, None) is not None:
                    yield str(future.key), _read(future)
                future = self._answered.get_nowait()

    def come_back(self) -> None:
        """Wait for a scheduler that has gone; it has forgotten all that it was sent.

        Raises:
            PipelineError: it does not come back.
        """
        log.warning("the Dask scheduler at %s has gone: waiting for it", self.address)
        self.close()
        self._futures.clear()
        self._client = self._connect(RETURN_SECONDS)
        log.info("the Dask scheduler at %s is back", self.address)

    def _connect(self, seconds: float) -> Client:
        until = time.monotonic() + seconds
        while True:
            try:
                return Client(self.address, timeout=CONNECT_SECONDS, set_as_default=False)
            except (OSError, ValueError, ImportError) as error:
                shutdown.check()
                if time.monotonic() > until:
                    raise PipelineError(
                        f"no Dask scheduler answers at hydra.launcher.scheduler={self.address}: "
                        "start it (dask scheduler) or name another, then start the same command "
                        "again"
                    ) from error
                time.sleep(0.5)


def _read(future: Future[ShardResult]) -> ShardResult | None:
    with suppress(*LOST):
        if future.status == "finished":
            answer: ShardResult = future.result(timeout=ANSWER_SECONDS)
            return answer
        if future.status == "error":
            error = future.exception(timeout=ANSWER_SECONDS)
            if isinstance(error, KilledWorker):
                return ShardResult(problem="it died again and again")
            return ShardResult(
                unfit=f"it cannot take the work ({error}): install the same requirements.lock and "
                "the same checkout there, and start it again"
            )
    return None
