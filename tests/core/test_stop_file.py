"""The latch holds with everything else down, and when in doubt it is set (S4)."""

from pathlib import Path

import pytest

from watchkeeper.adapters import stop_file
from watchkeeper.adapters.stop_file import FileStop
from watchkeeper.core.errors import UsageError
from watchkeeper.twin.memory import ManualClock


def latch(path: Path) -> FileStop:
    return FileStop(path, ManualClock())


def test_s4_set_says_who_and_why_and_clear_takes_it_away(tmp_path: Path) -> None:
    stop = latch(tmp_path / "home" / "STOP")
    assert not stop.is_set()
    stop.set("primary", "a rack is being moved")
    assert stop.is_set()
    assert stop.who() == ("primary", "a rack is being moved")
    stop.clear()
    stop.clear()
    assert not stop.is_set()


def test_s4_an_empty_file_touched_by_hand_stops(tmp_path: Path) -> None:
    (tmp_path / "STOP").touch()
    assert latch(tmp_path / "STOP").is_set()
    assert latch(tmp_path / "STOP").who() == ("unknown", "")


@pytest.mark.parametrize("text", ["", "stop now", "[1]", "7", "null", '{"by": ["x"]}', "\xff\x00"])
def test_s4_whatever_the_file_says_it_stops(tmp_path: Path, text: str) -> None:
    (tmp_path / "STOP").write_bytes(text.encode("latin-1"))
    stop = latch(tmp_path / "STOP")
    assert stop.is_set()
    by, reason = stop.who()
    assert isinstance(by, str)
    assert isinstance(reason, str)


def test_s4_a_latch_that_cannot_be_looked_at_counts_as_set(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the home should be")
    assert latch(tmp_path / "home" / "STOP").is_set()


def test_s4_a_link_that_leads_nowhere_counts_as_set(tmp_path: Path) -> None:
    (tmp_path / "STOP").symlink_to(tmp_path / "gone")
    assert latch(tmp_path / "STOP").is_set()
    (tmp_path / "LOOP").symlink_to(tmp_path / "LOOP")
    assert latch(tmp_path / "LOOP").is_set()


def test_s4_a_full_disk_does_not_keep_anyone_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stop_file.os, "write", full)
    stop = latch(tmp_path / "STOP")
    stop.set("primary", "enough")
    assert stop.is_set()


def test_a_latch_that_cannot_be_set_is_said_loudly(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(UsageError, match=r"cannot be set.*Ctrl-C"):
        latch(tmp_path / "home" / "STOP").set("primary", "")
