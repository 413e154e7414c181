"""A team of threads that works through the tasks of a training step."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from pipeline.nn.memory import Workspace


class Gate:
    """Opens when a group of tasks has ended. Any thread may use it."""

    def __init__(self) -> None:
        """Create an open gate."""
        self.is_open = True
        self._left = 0
        self._lock = threading.Lock()

    def close(self, tasks: int) -> None:
        """Close the gate until `open` is called after this number of tasks."""
        self.is_open, self._left = False, tasks

    def is_last(self) -> bool:
        """Record that a task of the group has ended. Return whether it was the last one."""
        with self._lock:
            self._left -= 1
            return self._left == 0

    def open(self) -> None:
        """Let the tasks behind the gate start."""
        self.is_open = True


class Task(NamedTuple):
    """A unit of work for one thread."""

    run: Callable[[Workspace], None]  # takes the buffers of the thread
    after: Gate | None = None  # the task starts when this gate is open


class Team:
    """Threads that share lists of tasks. NumPy releases the GIL while it computes.

    The thread that calls `run` takes part, so that a team of size 1 starts no thread.
    """

    def __init__(self, size: int, dtype: DTypeLike) -> None:
        """Start the threads, each with buffers of this dtype."""
        self.size, self.dtype = size, dtype
        self._work = Workspace(dtype)
        self._condition = threading.Condition()
        self._tasks: Iterator[Task] = iter(())
        self._busy = 0  # threads that still work on the current list
        self._round = 0  # number of lists so far
        self._closed = False
        self._error: BaseException | None = None
        for _ in range(size - 1):
            threading.Thread(target=self._serve, args=(Workspace(dtype),), daemon=True).start()

    def run(self, tasks: Sequence[Task]) -> None:
        """Run tasks, each on the next free thread, in this order, without floating-point warnings.

        A task may depend only on tasks before it in the list. If a task raises an error, the tasks
        in progress end, the other ones are skipped, and the error is raised here.
        """
        if self.size == 1:
            with np.errstate(all="ignore"):
                for task in tasks:
                    task.run(self._work)
            return
        with self._condition:
            self._tasks, self._busy, self._error = iter(tasks), self.size, None
            self._round += 1
            self._condition.notify_all()
        with np.errstate(all="ignore"):
            self._run_tasks(self._work)
        with self._condition:
            self._condition.wait_for(lambda: self._busy == 0)
        if self._error is not None:
            raise self._error

    def _serve(self, work: Workspace) -> None:
        """Take part in one list of tasks after another."""
        with np.errstate(all="ignore"):
            for done in itertools.count():  # lists
                with self._condition:
                    while self._round == done and not self._closed:
                        self._condition.wait()
                    if self._closed:
                        return
                self._run_tasks(work)

    def _run_tasks(self, work: Workspace) -> None:
        while (task := self._next_task()) is not None:
            try:
                task.run(work)
            except BaseException as error:
                self._error = error
            with self._condition:
                self._condition.notify_all()  # another task may be ready now
        with self._condition:
            self._busy -= 1
            self._condition.notify_all()

    def _next_task(self) -> Task | None:
        """Take the next task, and wait until it is ready."""
        with self._condition:
            task = next(self._tasks, None)
            if task is None:
                return None
            if task.after is not None:
                gate = task.after
                self._condition.wait_for(lambda: gate.is_open or self._error is not None)
            return task if self._error is None else None

    def __enter__(self) -> Team:
        """Return the team."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the threads."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
