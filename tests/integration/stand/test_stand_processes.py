import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from runbooks.stand.home import home_lock, is_free
from runbooks.stand.processes import (
    Program,
    Running,
    find_marked,
    is_alive,
    mark_of,
    read_pids,
    signal_processes,
    start_detached,
    wait_until_gone,
    with_descendants,
    write_pids,
)
from runbooks.stand.topology import StandError

SLEEPER = Program("sleeper", (sys.executable, "-c", "import time; print('here'); time.sleep(60)"), 0)
SCRIPT = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'], stdin=-1)"
PARENT = Program("parent", (sys.executable, "-c", SCRIPT), 0)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Running]:
    running = start_detached(SLEEPER, mark_of(tmp_path, "idc", "sleeper"), tmp_path / "sleeper.log")
    yield running
    signal_processes([running], signal.SIGKILL)
    assert wait_until_gone([running], 5) == []


def test_a_started_process_stands_in_a_session_of_its_own(sleeper: Running):
    assert os.getsid(sleeper.pid) == sleeper.pid != os.getsid(0)


def test_what_a_process_prints_is_in_its_log(sleeper: Running, tmp_path: Path):
    while not (tmp_path / "sleeper.log").read_text():
        assert is_alive(sleeper)
    assert (tmp_path / "sleeper.log").read_text() == "here\n"


def test_a_process_that_got_the_pid_of_one_of_ours_is_never_touched(sleeper: Running):
    earlier = replace(sleeper, started=sleeper.started - 60)
    assert not is_alive(earlier)
    signal_processes([earlier], signal.SIGKILL)
    assert is_alive(sleeper)


def test_a_process_is_found_by_its_mark_without_any_record(sleeper: Running, tmp_path: Path):
    assert [each.pid for each in find_marked(f"{tmp_path}|", ())] == [sleeper.pid]
    assert find_marked(f"{tmp_path}|cloud|", ()) == []


def test_a_process_is_found_by_the_directory_it_works_in(tmp_path: Path):
    (tmp_path / "copies" / "a").mkdir(parents=True)
    child = subprocess.Popen(SLEEPER.command, cwd=tmp_path / "copies" / "a", stdout=subprocess.DEVNULL)
    try:
        assert [each.pid for each in find_marked("\0", [tmp_path / "copies"])] == [child.pid]
        assert find_marked("\0", [tmp_path / "cop"]) == []
    finally:
        child.kill()
        child.wait()


def test_descendants_are_found_with_their_parent(tmp_path: Path):
    running = start_detached(PARENT, mark_of(tmp_path, "idc", "parent"), tmp_path / "parent.log")
    while len(found := with_descendants([running])) < 2:
        assert is_alive(running)
    signal_processes(found, signal.SIGKILL)
    assert wait_until_gone(found, 5) == []


def test_variables_that_would_lead_a_server_astray_are_not_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("PGHOST", "ETCD_NAME", "NO_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "astray")
    running = start_detached(SLEEPER, mark_of(tmp_path, "idc", "sleeper"), tmp_path / "sleeper.log")
    try:
        assert "astray" not in psutil.Process(running.pid).environ().values()
    finally:
        signal_processes([running], signal.SIGKILL)
        wait_until_gone([running], 5)


def test_records_are_read_back(tmp_path: Path):
    write_pids(tmp_path / "idc" / "pids.json", {"agent": Running(5, 1.5)})
    assert read_pids(tmp_path / "idc" / "pids.json") == {"agent": Running(5, 1.5)}


def test_spoilt_records_are_refused_with_what_to_do(tmp_path: Path):
    (tmp_path / "pids.json").write_text('{"agent": 5}')
    with pytest.raises(StandError, match="remove it"):
        read_pids(tmp_path / "pids.json")


def test_two_commands_do_not_work_on_a_stand_at_once(tmp_path: Path):
    with home_lock(tmp_path), pytest.raises(StandError, match=f"process {os.getpid()}"), home_lock(tmp_path):
        pass


def test_the_lock_is_free_again_after_use(tmp_path: Path):
    with home_lock(tmp_path):
        pass
    with home_lock(tmp_path):
        pass


def test_a_port_somebody_listens_at_is_not_free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)
