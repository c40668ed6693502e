"""The folder of policy files: what is read, what is refused, and what counts as a change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchkeeper.adapters.policy_files import fingerprint, read_policy_dir, read_test_dir
from watchkeeper.core.errors import UsageError


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "b.yaml").write_text("b: 1\n")
    (folder / "a.yaml").write_text("a: ü\n", encoding="utf-8")
    (folder / "a_test.yaml").write_text("test\n")
    (folder / "notes.md").write_text("notes\n")
    (folder / ".swap.yaml").write_text("editor\n")
    (folder / "policy.schema.json").write_text("{}\n")
    return folder


def test_policies_are_read_by_name_and_tests_and_notes_are_not(folder: Path) -> None:
    assert read_policy_dir(folder) == {"policies/a.yaml": "a: ü\n", "policies/b.yaml": "b: 1\n"}
    assert list(read_policy_dir(folder)) == ["policies/a.yaml", "policies/b.yaml"]


def test_a_folder_that_is_missing_empty_or_a_file_is_refused_in_one_sentence(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"no policy folder at .*nowhere"):
        read_policy_dir(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no policy files \(\*\.yaml\)"):
        read_policy_dir(tmp_path / "empty")
    with pytest.raises(UsageError, match="wants the folder"):
        read_policy_dir(folder / "a.yaml")


def test_what_is_not_text_or_cannot_be_opened_is_refused(folder: Path) -> None:
    (folder / "c.yaml").write_bytes(b"ok: 1\nbad: \xff\n")
    with pytest.raises(UsageError, match=r"c\.yaml, line 2, is not UTF-8"):
        read_policy_dir(folder)
    (folder / "c.yaml").unlink()
    (folder / "c.yaml").symlink_to(folder / "gone.yaml")
    with pytest.raises(UsageError, match=r"cannot be read: No such file.*c\.yaml"):
        read_policy_dir(folder)


def test_a_file_of_many_megabytes_is_not_read(folder: Path) -> None:
    (folder / "c.yaml").write_bytes(b"#" * 4_000_001)
    with pytest.raises(UsageError, match="larger than"):
        read_policy_dir(folder)


def test_the_fingerprint_changes_with_what_is_read_and_with_nothing_else(folder: Path) -> None:
    seen = {fingerprint(folder)}

    def changed() -> bool:
        new = fingerprint(folder)
        before = new in seen
        seen.add(new)
        return not before

    (folder / "notes.md").write_text("more notes\n")
    assert not changed()
    (folder / "a_test.yaml").write_text("another test\n")
    assert changed()
    os.utime(folder / "a.yaml", ns=(1, 1))
    assert changed()
    (folder / "c.yaml").write_text("c: 1\n")
    assert changed()
    (folder / "c.yaml").rename(folder / "d.yaml")
    assert changed()
    (folder / "d.yaml").unlink()
    os.replace(folder / "b.yaml", folder / "e.yaml")
    assert changed()
    assert fingerprint(folder / "nowhere") == ""


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("night.yml", "night.yaml"),
        ("NIGHT.YAML", "NIGHT.yaml"),
        ("night_test.yml", "night_test.yaml"),
        ("night_tests.yaml", "night_test.yaml"),
        ("night_tests.yml", "night_test.yaml"),
    ],
)
def test_a_file_that_would_be_passed_over_is_an_error_that_says_what_to_call_it(
    folder: Path, name: str, right: str
) -> None:
    before = fingerprint(folder)
    (folder / name).write_text("rules: []\n")
    assert fingerprint(folder) != before  # a running watch looks, and refuses
    for read in (read_policy_dir, read_test_dir):
        with pytest.raises(UsageError, match=f"{name} is not read: call it {right}"):
            read(folder)


def test_hidden_files_and_other_endings_are_left_alone(folder: Path) -> None:
    (folder / ".swap.yml").write_text("editor\n")
    (folder / "b.yaml.bak").write_text("old\n")
    assert len(read_policy_dir(folder)) == 2
