from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamdrift.transports.kafka import slot


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("socket.gethostname", lambda: "pod/7.example")
    return tmp_path


def test_each_process_of_a_group_on_a_host_has_a_name_of_its_own_and_has_it_again() -> None:
    first, second, elsewhere = slot.take_slot("g"), slot.take_slot("g"), slot.take_slot("another")
    assert (first.name, second.name, elsewhere.name) == ("pod-7.example-0", "pod-7.example-1", "pod-7.example-0")
    assert first.held is not None
    first.held.close()
    again = slot.take_slot("g")
    assert again.name == first.name
    for one in (second, elsewhere, again):
        assert one.held is not None
        one.held.close()


def test_a_killed_process_gives_its_name_back(folder: Path) -> None:
    program = (
        "import os, signal, socket, tempfile\n"
        f"tempfile.tempdir, socket.gethostname = {str(folder)!r}, lambda: 'pod'\n"
        "from streamdrift.transports.kafka.slot import take_slot\n"
        "slot = take_slot('g'); print(slot.name, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.stdout == "pod-0\n"


def test_the_name_that_was_set_wins_and_where_no_file_can_be_made_it_is_one_of_the_moment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert slot.take_slot("g", "detect-3").name == "detect-3"
    monkeypatch.setattr("tempfile.tempdir", str(folder / "missing"))
    first, second = slot.take_slot("g").name, slot.take_slot("g").name
    assert first != second
    assert first.startswith("pod-7.example-")


def test_a_link_that_somebody_laid_is_not_followed(folder: Path) -> None:
    victim = folder / "victim"
    taken = slot.take_slot("g")
    assert taken.held is not None
    taken.held.close()
    (lock,) = folder.glob("streamdrift-*")
    lock.unlink()
    lock.symlink_to(victim)
    found = slot.take_slot("g")
    assert found.name == "pod-7.example-1"
    assert not victim.exists()
    assert found.held is not None
    found.held.close()
