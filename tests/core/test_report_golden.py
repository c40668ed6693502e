"""The report and the postmortem, word for word, of two kept nights of a twin."""

from collections.abc import Callable

import pytest
from tests.core.report_journals import KEPT, NIGHTS, after, told

from watchkeeper.console.report_text import (
    as_html,
    as_json,
    as_markdown,
    postmortem_html,
    postmortem_markdown,
)

FORMS: dict[str, Callable[[str], str]] = {
    "report.md": lambda name: as_markdown(told(name)),
    "report.html": lambda name: as_html(told(name)),
    "report.json": lambda name: as_json(told(name)),
    "postmortem.md": lambda name: postmortem_markdown(after(name)),
    "postmortem.html": lambda name: postmortem_html(after(name)),
    "postmortem.json": lambda name: as_json(after(name)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NIGHTS)
def test_a_kept_night_is_told_word_for_word(name: str, form: str) -> None:
    said = FORMS[form](name).rstrip("\n") + "\n"
    golden = KEPT / f"{name}.{form}"
    if not golden.exists():
        golden.write_text(said)
        pytest.fail(f"wrote {golden.name}; read it and run again")
    assert said == golden.read_text()


@pytest.mark.parametrize("name", NIGHTS)
def test_the_same_journal_gives_the_same_report(name: str) -> None:
    assert told(name) == told(name)
    assert after(name) == after(name)
