"""When a run's process counts as dead: heartbeats, and odd tags that other programs may write."""

from __future__ import annotations

import os
import platform
import time

import pytest

from pipeline.process import CLOCK_SECONDS
from pipeline.tracking import provenance
from pipeline.tracking.provenance import HEARTBEAT_SECONDS, SILENCE_SECONDS, is_dead

HERE = platform.node()


@pytest.mark.parametrize("beyond", [-60, 60])
def test_process_of_another_machine_is_dead_after_an_hour_without_heartbeat(beyond: int) -> None:
    heartbeat = time.time() - SILENCE_SECONDS - beyond
    tags = {"host": "another machine", "heartbeat": f"{heartbeat:.0f}"}
    assert is_dead(tags) == (beyond > 0)
    assert SILENCE_SECONDS == 3600
    assert HEARTBEAT_SECONDS * 10 < SILENCE_SECONDS


@pytest.mark.parametrize(("moved", "dead"), [(-2, False), (2, True)])
def test_start_time_may_differ_by_a_correction_of_the_clock(moved: int, dead: bool) -> None:
    tags = dict(provenance.provenance())
    started = float(tags["pid_started"])
    for sign in (-1, 1):
        tags["pid_started"] = str(started + sign * (CLOCK_SECONDS + moved))
        assert is_dead(tags) is dead


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"host": HERE},
        {"host": HERE, "pid": "1"},
        {"host": HERE, "pid": str(os.getpid()), "pid_started": "soon"},
        {"host": HERE, "pid": "one", "pid_started": "1"},
        {"host": "x", "heartbeat": "soon"},
        {"host": "x", "heartbeat": "nan"},
        {"host": "x", "heartbeat": "1e400"},
    ],
)
def test_process_is_not_dead_if_its_tags_cannot_be_read(tags: dict[str, str]) -> None:
    assert not is_dead(tags)


def test_process_of_an_earlier_version_is_judged_by_host_and_number() -> None:
    tags = {"host": HERE, "pid": "4194304", "pid_started": "1700000000"}
    assert is_dead(tags)
    assert not is_dead(tags | {"pid_namespace": "1"})
