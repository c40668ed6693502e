"""A lab ends with whoever wanted it, however that one ended, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from watchkeeper.adapters.ray_lab import EXIT_CANNOT_START

from .ray_fixture import descendants_gone, start_lab, wait_for_lab

pytestmark = pytest.mark.ray

PARENT = """
import subprocess, sys, time
lab = [sys.executable, "-m", "watchkeeper.adapters.ray_lab", "--dir", sys.argv[1]]
subprocess.Popen([*lab, "--workers", "1", "--no-gangs"], start_new_session=True)
time.sleep(600)
"""


def _family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


@pytest.mark.parametrize("victim", ["parent", "guardian"])
def test_sigkill_of_the_labs_parent_or_guardian_leaves_no_process(
    tmp_path: Path, victim: str
) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "lab")])
    try:
        info = wait_for_lab(tmp_path / "lab")
        family = _family(parent.pid)
        assert len(family) > 6
        dead = parent.pid if victim == "parent" else info.pids["guardian"]
        assert dead is not None
        os.kill(dead, signal.SIGKILL)
        family.remove(parent.pid)
        assert descendants_gone(family, [info.session], within_s=25) == []
    finally:
        parent.kill()
        parent.wait()


def test_ctrl_c_ends_the_lab_and_removes_what_it_wrote_for_others(tmp_path: Path) -> None:
    lab = start_lab(tmp_path / "lab", "--workers", "1", "--no-gangs")
    info = wait_for_lab(tmp_path / "lab", lab)
    family = _family(lab.pid)[1:]
    lab.send_signal(signal.SIGINT)
    assert lab.wait(30) == 0
    assert descendants_gone(family, [info.session], within_s=1) == []
    assert not (tmp_path / "lab" / "lab.json").exists()
    assert not Path(info.socket).exists()


def test_a_lab_that_cannot_start_says_why_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "lab").write_text("a file is in the way")
    lab = start_lab(tmp_path / "lab", "--workers", "1")
    assert lab.stderr is not None
    text = lab.stderr.read().decode().strip()
    assert lab.wait(20) == EXIT_CANNOT_START
    assert len(text.splitlines()) == 1
    assert str(tmp_path / "lab") in text
