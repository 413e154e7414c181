"""The connection to a Dask scheduler: its workers, tasks for them, and their results."""

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

    from pipeline.execution.dask.task import ShardResult, Task
    from pipeline.execution.dask.worker import train_shard
except ImportError as error:
    raise PipelineError(
        f"hydra.launcher.backend=dask needs Dask ({error}): pip install -e '.[cluster]'"
    ) from error

CONNECT_SECONDS = 5  # within which a scheduler must answer
RETURN_SECONDS = 120  # within which a scheduler that has stopped must be back
CALL_SECONDS = 20  # for a call to a scheduler that has answered before
# The errors of a call when the scheduler, or the worker with the result, has stopped.
LOST = (OSError, asyncio.CancelledError, concurrent.futures.CancelledError)

log = logging.getLogger("pipeline")


def check_address(address: str) -> None:
    """Check the syntax of a scheduler's address.

    Raises:
        PipelineError: it is not an address.
    """
    if not re.fullmatch(r"(tcp|tls)://\S+:\d+", address):
        raise PipelineError(
            f"hydra.launcher.scheduler must be tcp://HOST:PORT or tls://HOST:PORT, not {address!r}"
        )


class Scheduler:
    """A connection to a scheduler. Workers are named by their addresses."""

    def __init__(self, address: str) -> None:
        """Connect.

        Raises:
            PipelineError: no scheduler answers at the address.
        """
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # this module logs what matters
        self.address = address
        self._client = self._connect(CONNECT_SECONDS)
        self._futures: dict[Any, Future[ShardResult]] = {}  # by the key of the attempt
        self._completed: queue.SimpleQueue[Future[ShardResult]] = queue.SimpleQueue()
        self._numbers = itertools.count()

    def close(self) -> None:
        """Disconnect. The scheduler then drops the tasks of this sweep."""
        with suppress(Exception):  # the scheduler may have stopped
            self._client.close(timeout=CONNECT_SECONDS)

    def workers(self) -> Mapping[str, int] | None:
        """The number of threads of each worker; None if the scheduler does not answer."""
        with suppress(*LOST):
            if self._client.status == "running":
                threads: Mapping[str, int] = self._client.nthreads(callback_timeout=CALL_SECONDS)
                return threads
        return None

    def send(self, worker: str, task: Task) -> str:
        """Send a task to one worker, and to no other; return the key of this attempt."""
        key = f"{task.sweep.run_id}-shard-{task.shard_id}-{next(self._numbers)}"
        future = self._client.submit(train_shard, task, key, key=key, workers=[worker], pure=False)
        self._futures[key] = future
        future.add_done_callback(self._completed.put)
        return key

    def cancel(self, key: str) -> None:
        """Cancel an attempt; a worker that runs it stops."""
        future = self._futures.pop(key, None)
        with suppress(*LOST):
            if future is not None:
                future.cancel()

    def results(self, seconds: float) -> Iterator[tuple[str, ShardResult | None]]:
        """Yield the results that have arrived, after waiting for the first one.

        Args:
            seconds: how long to wait.

        Yields:
            The key of an attempt, and its result; None if the result was lost.
        """
        with suppress(queue.Empty):
            future = self._completed.get(timeout=seconds)
            while True:
                if self._futures.pop(future.key, None) is not None:
                    yield str(future.key), _read(future)
                future = self._completed.get_nowait()

    def reconnect(self) -> None:
        """Wait for a scheduler that has stopped. It comes back without any task.

        Raises:
            PipelineError: it does not come back.
        """
        log.warning("the Dask scheduler at %s has stopped: waiting for it", self.address)
        self.close()
        self._futures.clear()
        self._client = self._connect(RETURN_SECONDS)
        log.info("the Dask scheduler at %s is back", self.address)

    def _connect(self, seconds: float) -> Client:
        give_up = time.monotonic() + seconds
        while True:
            try:
                return Client(self.address, timeout=CONNECT_SECONDS, set_as_default=False)
            except (OSError, ValueError, ImportError) as error:
                shutdown.check()
                if time.monotonic() > give_up:
                    raise PipelineError(
                        f"no Dask scheduler answers at hydra.launcher.scheduler={self.address}: "
                        "start it with dask scheduler, or name another one, then rerun the same "
                        "command"
                    ) from error
                time.sleep(0.5)


def _read(future: Future[ShardResult]) -> ShardResult | None:
    with suppress(*LOST):
        if future.status == "finished":
            result: ShardResult = future.result(timeout=CALL_SECONDS)
            return result
        if future.status == "error":
            error = future.exception(timeout=CALL_SECONDS)
            if isinstance(error, KilledWorker):
                return ShardResult(problem="it died several times")
            return ShardResult(
                unfit=f"it cannot load the task ({error}): install the same requirements.lock and "
                "the same checkout there, and start it again"
            )
    return None
