"""Where things lie, and what is known to be wrong before anything starts."""

from pathlib import Path

import pytest

from watchkeeper.app.settings import Home, Settings
from watchkeeper.core.errors import ClusterUnavailable, JournalBroken, UsageError
from watchkeeper.core.verdict import Autonomy


def test_the_home_is_the_one_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHKEEPER_HOME", str(tmp_path))
    assert Home.find().path == tmp_path
    monkeypatch.setenv("WATCHKEEPER_HOME", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert Home.find().path == tmp_path / "data" / "watchkeeper"


def test_a_home_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "b").make()
    assert [p.stat().st_mode & 0o777 for p in (home.path, home.run, home.logs)] == [0o700] * 3
    assert home.make() is home, "making it twice is no mistake"


def test_a_home_that_cannot_be_made_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="Set WATCHKEEPER_HOME"):
        Home(tmp_path / "file" / "home").make()


def test_settings_are_read_as_they_were_saved(tmp_path: Path) -> None:
    settings = Settings(
        redis="redis://h/0", redis_says="given", autonomy=Autonomy.ASK, lab_time="02:30"
    )
    settings.save(tmp_path / "watch.json")
    assert Settings.load(tmp_path / "watch.json") == settings


def told(**changes: object) -> Settings:
    return Settings(**{"redis": "", "redis_says": "", **changes})


def test_a_fresh_home_and_plain_settings_pass(tmp_path: Path) -> None:
    told().check(Home(tmp_path))
    assert list(tmp_path.iterdir()) == [], "checking makes nothing"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"lab_time": "later"}, UsageError),
        ({"provider": "/nowhere.toml"}, UsageError),
        ({"redis": "ftp://x"}, UsageError),
        ({"redis": "redis://127.0.0.1:1/0"}, ClusterUnavailable),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_cannot_work_is_refused(
    tmp_path: Path, changes: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        told(**changes).check(Home(tmp_path))


def test_a_password_is_never_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(ClusterUnavailable) as refused:
        told(redis="redis://user:hunter2@127.0.0.1:1/0").check(Home(tmp_path))
    assert "hunter2" not in str(refused.value)


def test_a_broken_journal_is_found(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "journal.jsonl").write_text("nonsense\n")
    with pytest.raises(JournalBroken, match="line 1 is not an event"):
        told().check(Home(tmp_path))
