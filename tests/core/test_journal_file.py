"""The record on disk: what is written stays, what is changed is found, what failed is not there."""

import contextlib
import errno
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchkeeper.adapters import journal_file
from watchkeeper.adapters.journal_file import FileJournal, read_events, verify
from watchkeeper.core.errors import AlreadyRunning, JournalBroken
from watchkeeper.core.event import GENESIS, Kind
from watchkeeper.twin.memory import ManualClock


def written(directory: Path, count: int = 5) -> Path:
    """A closed journal of `count` durable lines."""
    journal = FileJournal(directory, ManualClock())
    for i in range(count):
        journal.append(Kind.NOTE, (f"INC-{i}",), {"text": f"line {i}", "age": 1e-7 * i})
    journal.close()
    return journal.path


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_what_was_appended_is_read_again_in_order_by_the_next_watch(tmp_path: Path) -> None:
    path = written(tmp_path, 3)
    journal = FileJournal(tmp_path, ManualClock())
    assert [e.data["text"] for e in journal.events()] == ["line 0", "line 1", "line 2"]
    assert journal.append(Kind.NOTE, (), {}).seq == 4
    journal.close()
    assert verify(path).events == 4


def test_what_names_a_thing_is_found_without_reading_the_rest(tmp_path: Path) -> None:
    path = written(tmp_path, 3)
    journal = FileJournal(tmp_path, ManualClock())
    for subject in (("P-1", "INC-1"), ("INC-1/gangs",), ("INC-12",), ("P-1",)):
        journal.append(Kind.NOTE, subject, {})
    assert [e.seq for e in journal.about({"INC-1"})] == [2, 4, 5]
    assert [e.seq for e in journal.about({"P-1", "INC-1"})] == [2, 4, 5, 7], "each once, in order"
    assert list(journal.about({"INC-1/gangs", "nobody"})) == []
    journal.close()
    spoiled = lines_of(path)
    spoiled[5] = b"{" + b" " * (len(spoiled[5]) - 2) + b"\n"
    path.write_bytes(b"".join(spoiled))
    assert [e.seq for e in journal.about({"INC-1"})] == [2, 4, 5]
    with pytest.raises(JournalBroken, match="line 6 is not an event"):
        list(journal.about({"INC-12"}))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from(["INC-1", "INC-2", "P-1", "P-2/part"]), max_size=3)),
    st.integers(0, 20),
)
def test_the_index_finds_what_a_whole_reading_finds(
    tmp_path_factory: pytest.TempPathFactory, subjects: list[list[str]], after: int
) -> None:
    folder = tmp_path_factory.mktemp("index")
    first = FileJournal(folder, ManualClock())
    for subject in subjects[: len(subjects) // 2]:
        first.append(Kind.NOTE, tuple(subject), {})
    first.close()
    journal = FileJournal(folder, ManualClock())
    for subject in subjects[len(subjects) // 2 :]:
        journal.append(Kind.NOTE, tuple(subject), {})
    journal.close()
    every = list(read_events(journal.path))
    assert list(journal.events(after)) == every[after:]
    assert list(journal.about({"INC-1", "P-2"})) == [
        e for e in every if {"INC-1", "P-2/part"} & set(e.subject)
    ]


def test_each_line_carries_the_hash_of_the_line_before(tmp_path: Path) -> None:
    path = written(tmp_path)
    events = list(read_events(path))
    assert events[0].prev == GENESIS
    assert [e.prev for e in events[1:]] == [e.hash for e in events[:-1]]


def test_a_durable_line_is_on_disk_before_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(journal_file.os, "fsync", synced.append)
    journal = FileJournal(tmp_path, ManualClock())
    journal.append(Kind.NOTE, (), {})
    assert synced == []
    journal.append(Kind.EFFECT_STARTED, (), {}, durable=True)
    assert len(synced) == 1
    journal.close()


def flip(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b"line 2", b"line 7"), *lines[3:]]


def last_hash(lines: list[bytes]) -> list[bytes]:
    at = lines[-1].index(b'"hash":"') + 8
    digit = b"0" if lines[-1][at : at + 1] != b"0" else b"1"
    return [*lines[:-1], lines[-1][:at] + digit + lines[-1][at + 1 :]]


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        pytest.param(flip, "line 3 .* was changed", id="a-flipped-letter"),
        pytest.param(last_hash, "line 5 .* was changed", id="a-flipped-hash"),
        pytest.param(lambda ls: [*ls[:1], *ls[2:]], "line 2 has sequence 3", id="a-deleted-line"),
        pytest.param(
            lambda ls: [ls[0], ls[2], ls[1], *ls[3:]], "line 2 has sequence 3", id="a-swapped-pair"
        ),
        pytest.param(lambda ls: ls[1:], "line 1 has sequence 2", id="a-cut-head"),
        pytest.param(lambda ls: [*ls, ls[-1]], "line 6 has sequence 5", id="a-doubled-line"),
        pytest.param(lambda ls: ls[:-1], "the tail is missing", id="a-cut-tail"),
        pytest.param(lambda ls: [], "the tail is missing", id="an-emptied-file"),
        pytest.param(
            lambda ls: [*ls[:-1], ls[-1][:-1]], "the tail is missing", id="a-line-end-cut-off"
        ),
        pytest.param(lambda ls: [*ls[:2], b"\n", *ls[2:]], "line 3 is not", id="an-empty-line"),
    ],
)
def test_verify_finds(tmp_path: Path, tamper: object, says: str) -> None:
    path = written(tmp_path)
    path.write_bytes(b"".join(tamper(lines_of(path))))
    found = verify(path)
    assert re.search(says, found.problem), found.problem


def test_verify_finds_a_cut_tail_by_a_head_seen_elsewhere(tmp_path: Path) -> None:
    path = written(tmp_path)
    head = (verify(path).head_seq, verify(path).head_hash)
    path.with_suffix(".head").unlink()
    path.write_bytes(b"".join(lines_of(path)[:-1]))
    assert verify(path).problem == "", "alone, a shorter journal looks whole"
    assert "the tail is missing" in verify(path, head).problem


def test_verify_finds_a_rewritten_record_by_a_head_seen_elsewhere(tmp_path: Path) -> None:
    old = verify(written(tmp_path / "a"))
    journal = FileJournal(tmp_path / "b", ManualClock())
    for _ in range(5):
        journal.append(Kind.NOTE, (), {"text": "another story"})
    journal.close()
    found = verify(journal.path, (old.head_seq, old.head_hash))
    assert found.problem == "event 5 is not the one that was written"


@pytest.fixture(scope="module")
def small_journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("bytes"), 3)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_no_single_byte_can_be_changed_unseen(
    small_journal: Path, where: float, value: int
) -> None:
    data = bytearray(small_journal.read_bytes())
    place = int(where * len(data))
    if data[place] == value:
        return
    data[place] = value
    copy = small_journal.with_name("copy.jsonl")
    copy.write_bytes(data)
    copy.with_suffix(".head").write_bytes(small_journal.with_suffix(".head").read_bytes())
    assert verify(copy).problem


@pytest.mark.parametrize(("old", "new"), [(b"e-7", b"E-7"), (b"Z", b"z"), (b"T12", b"t12")])
def test_a_change_that_reads_the_same_is_still_a_change(
    tmp_path: Path, old: bytes, new: bytes
) -> None:
    path = written(tmp_path)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    assert verify(path).problem


def test_a_half_written_tail_is_set_aside_and_said(tmp_path: Path) -> None:
    path = written(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"seq":6,"half')
    journal = FileJournal(tmp_path, ManualClock())
    assert journal.head[0] == 5
    assert "14 bytes of an unfinished line were set aside in journal.torn-" in journal.set_aside
    journal.close()
    kept = next(tmp_path.glob("journal.torn-*"))
    assert kept.read_bytes() == b'{"seq":6,"half'
    assert verify(path) == verify(path, journal.head)
    assert verify(path).problem == ""


def test_a_corrupt_middle_keeps_the_watch_from_starting_and_says_where(tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = lines_of(path)
    path.write_bytes(b"".join([*lines[:2], b"garbage\n", *lines[3:]]))
    before = path.read_bytes()
    with pytest.raises(JournalBroken, match=r"line 3 is not an event.*Keep the file") as broken:
        FileJournal(tmp_path, ManualClock())
    assert broken.value.exit_code == 4
    assert path.read_bytes() == before, "evidence is left as it is"


def test_after_a_broken_start_the_lock_is_free_again(tmp_path: Path) -> None:
    path = written(tmp_path)
    good = path.read_bytes()
    path.write_bytes(b"garbage\n" + good)
    with pytest.raises(JournalBroken):
        FileJournal(tmp_path, ManualClock())
    path.write_bytes(good)
    FileJournal(tmp_path, ManualClock()).close()


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    first = FileJournal(tmp_path, ManualClock())
    with pytest.raises(AlreadyRunning, match="Another watch writes the journal"):
        FileJournal(tmp_path, ManualClock())
    first.close()
    FileJournal(tmp_path, ManualClock()).close()


def test_a_home_that_cannot_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalBroken, match="set WATCHKEEPER_HOME"):
        FileJournal(tmp_path / "file" / "journal", ManualClock())


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB; needs the right to mount one."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_s26_on_a_full_disk_nothing_is_half_written_and_it_goes_on_with_space(
    tiny_disk: Path,
) -> None:
    journal = FileJournal(tiny_disk, ManualClock())
    journal.append(Kind.NOTE, (), {}, durable=True)
    hog = tiny_disk / "hog"
    fill(hog)
    refused_at(journal, "No space left on device")
    assert verify(journal.path).problem == ""
    hog.unlink()
    after = journal.append(Kind.NOTE, (), {"text": "again"}, durable=True)
    assert [e.seq for e in journal.events()] == list(range(1, after.seq + 1))
    assert verify(journal.path).events == after.seq
    journal.close()


def fill(hog: Path) -> None:
    """Write until the disk takes no more."""
    with hog.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass


def refused_at(journal: FileJournal, words: str) -> None:
    """Long lines are soon refused; the head stays at the last one that was taken."""
    taken: list[tuple[int, str]] = []

    def append_on_and_on() -> None:
        for _ in range(100):
            taken.append(journal.head)
            journal.append(Kind.NOTE, (), {"text": "y" * 3000}, durable=True)

    with pytest.raises(JournalBroken, match=f"{words}.*Free space"):
        append_on_and_on()
    assert journal.head == taken[-1]


class FailingDisk:
    """`os` with one call that fails, as a disk that is full or broken does."""

    def __init__(self, call: str) -> None:
        self._call = call

    def __getattr__(self, name: str) -> object:
        if name != self._call:
            return getattr(os, name)

        def fail(*args: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        return fail


@pytest.mark.parametrize("call", ["fsync", "pwrite"])
def test_s26_a_line_that_was_not_made_durable_is_not_part_of_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    journal = FileJournal(tmp_path, ManualClock())
    journal.append(Kind.NOTE, (), {}, durable=True)
    heard: list[int] = []
    journal.listen(lambda e: heard.append(e.seq))
    with monkeypatch.context() as broken:
        broken.setattr(journal_file, "os", FailingDisk(call))
        with pytest.raises(JournalBroken, match="Input/output error"):
            journal.append(Kind.EFFECT_STARTED, (), {}, durable=True)
    assert (journal.head[0], heard) == (1, [])
    assert [e.kind for e in read_events(journal.path)] == [Kind.NOTE]
    assert journal.append(Kind.NOTE, (), {}, durable=True).seq == 2
    assert verify(journal.path).problem == ""
    journal.close()


def test_s26_what_could_not_be_taken_back_is_gone_before_the_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = FileJournal(tmp_path, ManualClock())
    journal.append(Kind.NOTE, (), {}, durable=True)
    with monkeypatch.context() as broken:
        broken.setattr(journal, "_take_back", lambda size: None)
        broken.setattr(journal_file, "os", FailingDisk("fsync"))
        with pytest.raises(JournalBroken):
            journal.append(Kind.NOTE, (), {"text": "ghost"}, durable=True)
    journal.append(Kind.NOTE, (), {"text": "real"}, durable=True)
    assert [e.data.get("text") for e in read_events(journal.path)] == [None, "real"]
    assert verify(journal.path).problem == ""
    journal.close()


def test_wait_wakes_when_a_line_comes(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, ManualClock())
    heard: list[int] = []
    waiter = threading.Thread(target=lambda: heard.append(journal.wait(0, 30.0)))
    waiter.start()
    journal.append(Kind.NOTE, (), {})
    waiter.join(10.0)
    assert heard == [1]
    journal.close()


def test_wait_comes_back_when_the_time_is_up(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, ManualClock())
    assert journal.wait(0, 0.01) == 0
    journal.close()


@pytest.mark.parametrize(("bound", "most"), [("RECENT", 3), ("RECENT_BYTES", 700)])
def test_readers_see_events_that_memory_no_longer_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    monkeypatch.setattr(journal_file, bound, most)
    journal = FileJournal(tmp_path, ManualClock())
    for _ in range(10):
        journal.append(Kind.NOTE, (), {})
    assert [e.seq for e in journal.events()] == list(range(1, 11))
    assert [e.seq for e in journal.events(after=4)] == list(range(5, 11))
    assert [e.seq for e in journal.events(after=8)] == [9, 10]
    assert list(journal.events(after=10)) == []
    assert 1 <= len(journal._recent.events()) <= 3
    journal.close()


def test_a_line_larger_than_all_that_is_kept_is_kept_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "RECENT_BYTES", 100)
    journal = FileJournal(tmp_path, ManualClock())
    journal.append(Kind.NOTE, (), {})
    journal.append(Kind.NOTE, (), {"text": "x" * 1000})
    assert [e.seq for e in journal._recent.events()] == [2]
    assert [e.seq for e in journal.events()] == [1, 2]
    journal.close()


def test_listeners_hear_each_event_in_order_right_after_it_was_written(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, ManualClock())
    heard: list[tuple[int, int]] = []
    journal.listen(lambda e: heard.append((e.seq, len(list(read_events(journal.path))))))
    journal.append(Kind.NOTE, (), {})
    journal.append(Kind.NOTE, (), {})
    assert heard == [(1, 1), (2, 2)]
    journal.close()


def test_values_that_json_has_no_word_for_are_written_so_that_the_hash_still_holds(
    tmp_path: Path,
) -> None:
    journal = FileJournal(tmp_path, ManualClock())
    journal.append(Kind.NOTE, (), {"nan": float("nan"), "big": 1e300, "text": "\x1f\u2028é"})
    journal.close()
    assert verify(journal.path).problem == ""


@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(cut=st.integers(0, 400))
def test_a_crash_in_the_middle_of_a_write_never_keeps_the_watch_from_starting(
    tmp_path: Path, cut: int
) -> None:
    home = tmp_path / f"cut{cut}"
    journal = FileJournal(home, ManualClock())
    journal.append(Kind.NOTE, (), {}, durable=True)
    whole = journal.path.stat().st_size
    journal.append(Kind.NOTE, (), {"text": "the last words"})
    journal._file.close()
    os.truncate(journal.path, min(whole + cut, journal.path.stat().st_size))
    journal._lock_file.close()
    again = FileJournal(home, ManualClock())
    assert again.head[0] in (1, 2)
    again.close()
    assert verify(again.path).problem == ""
    for file in home.iterdir():
        file.unlink()
    home.rmdir()
