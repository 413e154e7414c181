"""The identity of processes across machines, boots and PID namespaces."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.process import is_abandoned, is_dead, temporary_name, this_process
from pipeline.tracking import provenance

UNSHARE = ["unshare", "-Upf", "--map-root-user", "--mount-proc"]
STATE = """
import json, sys
from pathlib import Path
from pipeline.process import is_abandoned
from pipeline.tracking.provenance import is_dead, provenance
tags = json.loads(sys.argv[1])
print(json.dumps([is_dead(tags), is_abandoned(Path(sys.argv[2])), provenance()["pid_namespace"]]))
"""


def test_only_a_process_of_this_namespace_can_be_known_to_be_dead() -> None:
    alive = this_process()
    assert is_dead(alive) is False
    assert is_dead(alive._replace(pid=str(2**22))) is True
    assert is_dead(alive._replace(started="1")) is True
    for other in ({"boot": "0"}, {"namespace": "1"}, {"pid": "x"}, {"started": "soon"}):
        assert is_dead(alive._replace(**other)) is None


def test_the_temporary_file_of_a_live_process_is_not_abandoned(tmp_path: Path) -> None:
    assert not is_abandoned(temporary_name(tmp_path / "weights.npz"))
    dead = this_process()._replace(pid=str(2**22))
    assert is_abandoned(tmp_path / f"weights.npz.{dead}.tmp")
    for name in ("weights.npz", "weights.host.12.tmp", "weights.a-b-c-d.tmp"):
        assert not is_abandoned(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "dead"),
    [
        ({}, False),
        ({"pid": str(2**22)}, True),
        ({"pid": str(2**22), "pid_namespace": "1"}, False),
        ({"boot_id": "other"}, True),  # the machine has started again
        ({"boot_id": "other", "machine_id": "other"}, False),
        ({"boot_id": "other", "machine_id": ""}, False),  # a container
        ({"boot_id": "other", "host": "another machine"}, False),
        ({"pid_namespace": "1", "heartbeat": "1700000000"}, True),
        ({"host": "another machine", "heartbeat": "1700000000"}, True),
    ],
)
def test_a_run_ends_if_its_machine_has_restarted_or_its_heartbeat_has_stopped(
    change: dict[str, str], dead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "machine_id", lambda: "this machine")
    tags = {**provenance.provenance(), "heartbeat": f"{time.time():.0f}"}
    tags["machine_id"] = "this machine"
    assert provenance.is_dead(tags | change) is dead


def test_another_pid_namespace_takes_no_live_process_for_dead(tmp_path: Path) -> None:
    if not shutil.which("unshare") or subprocess.run([*UNSHARE, "true"], check=False).returncode:
        pytest.skip("this system does not allow a new PID namespace")
    tags = {**provenance.provenance(), "heartbeat": f"{time.time():.0f}"}
    file = temporary_name(tmp_path / "weights.npz")
    command = [*UNSHARE, sys.executable, "-c", STATE, json.dumps(tags), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    dead, abandoned, namespace = json.loads(done.stdout)
    assert (dead, abandoned) == (False, False)
    assert namespace != tags["pid_namespace"]
