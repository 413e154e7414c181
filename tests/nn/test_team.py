"""A team of threads runs the tasks of a step in an order that respects their gates."""

from __future__ import annotations

import threading

import pytest

from pipeline.nn.memory import Workspace
from pipeline.nn.team import Gate, Task, Team


@pytest.mark.parametrize("size", [1, 2, 5])
def test_every_task_of_every_list_runs_once(size: int) -> None:
    done: list[tuple[int, int]] = []
    with Team(size, "float32") as team:
        for number in range(20):
            tasks = [Task(lambda _, i=i, n=number: done.append((n, i))) for i in range(7)]
            team.run(tasks)
            assert sorted(done) == [(n, i) for n in range(number + 1) for i in range(7)]


def test_a_task_waits_until_its_gate_is_open() -> None:
    gate, order = Gate(), list[str]()

    def first(_: Workspace) -> None:
        other_waits.wait(timeout=10)
        order.append("first")
        if gate.is_last():
            gate.open()

    other_waits = threading.Barrier(2)
    gate.close(1)
    with Team(2, "float32") as team:
        # The second thread can only reach its gated task after this one.
        meet = Task(lambda _: [other_waits.wait(timeout=10)])
        team.run([Task(first), meet, Task(lambda _: order.append("second"), gate)])
    assert order == ["first", "second"]


@pytest.mark.parametrize("size", [1, 3])
def test_an_error_in_a_task_is_raised_and_releases_waiting_threads(size: int) -> None:
    def fail(_: Workspace) -> None:
        raise MemoryError("no room for H")

    gate, ran = Gate(), list[int]()
    gate.close(1)
    with Team(size, "float32") as team:
        with pytest.raises(MemoryError, match="no room for H"):
            team.run([Task(fail), *(Task(lambda _: ran.append(0), gate) for _ in range(4))])
        assert ran == []
        team.run([Task(lambda _: ran.append(1))])  # the team still works
    assert ran == [1]


def test_the_threads_of_a_team_end_with_it() -> None:
    before = set(threading.enumerate())
    with Team(3, "float32"):
        started = set(threading.enumerate()) - before
        assert len(started) == 2
    for thread in started:
        thread.join(timeout=10)
        assert not thread.is_alive()
