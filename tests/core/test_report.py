"""The report says what was seen, done, not done and why; what it does not know it says so."""

from __future__ import annotations

import gzip
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from tests.core.report_journals import KEPT, events
from tests.stories.world import ALICE, ASKING, DAY, POLICIES, Answer, Story

from watchkeeper.adapters.case_file import CaseFile
from watchkeeper.app.policy_explain import explain_it
from watchkeeper.app.report_cli import report as report_command
from watchkeeper.console.report_text import as_html, as_markdown, md, postmortem_markdown
from watchkeeper.control.books import Books
from watchkeeper.control.report import last_evening, report, zone_of
from watchkeeper.control.report_bounds import endings, missed
from watchkeeper.control.report_night import night_of
from watchkeeper.control.report_words import closed, count, names, sentence
from watchkeeper.control.reporting import Reporter
from watchkeeper.core.errors import Refused, UsageError
from watchkeeper.core.event import Event, Kind
from watchkeeper.core.forecast import Forecast
from watchkeeper.core.report import EvalCase, Item, Judgement, Report, Section
from watchkeeper.core.since import since, span
from watchkeeper.core.word import digest
from watchkeeper.policy.history.replay import inputs_of
from watchkeeper.policy.load import load

UTC_ZONE = ZoneInfo("UTC")


def section(told: Report, ident: str) -> Section:
    return next(s for s in told.sections if s.id == ident)


def texts(told: Report, ident: str) -> str:
    return "\n".join(f"{i.text} {i.more}" for i in section(told, ident).items)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """By day: one node is mended alone; of two questions one is denied and one waits."""
    home = tmp_path_factory.mktemp("day")
    story = Story(home, hour=DAY, pools={"train": 8})
    story.cluster.run("llm", ("train-01", "train-02"))
    story.turns(2)
    story.cluster.lose("train-05")
    story.until(lambda: story.done() and story.quiet())
    story.turns(13, every_s=30.0)  # two ill nodes within five minutes would halt the watch
    story.cluster.xid("train-02", 3, 79)
    story.until(lambda: story.desk.asks())
    story.answer(Answer.DENY)
    story.turns(3)
    yield story
    story.journal.close()


@pytest.fixture
def reporter(lived: Story, tmp_path: Path) -> Reporter:
    return Reporter(lived.watch, CaseFile(tmp_path / "cases.jsonl"))


def test_what_was_done_and_verified_is_told_with_its_rule(reporter: Reporter) -> None:
    told = reporter.report()
    (mended,) = [i for i in section(told, "did").items if "train-05" in i.text]
    assert mended.text == "train-05: restarted, checked, returned to service."
    assert "Verified:" in mended.more
    assert "Nobody was asked." in mended.more
    assert mended.where.startswith("policies/always.yaml:")
    assert mended.tone == "good"


def test_what_a_person_denied_is_told_with_the_person(reporter: Reporter) -> None:
    told = reporter.report()
    assert "primary denied it." in texts(told, "did_not")
    (item,) = [i for i in section(told, "did_not").items if "denied" in i.more]
    assert item.text.startswith("Did not ")
    assert item.proposal.startswith("P-")


def test_what_waits_is_a_question_with_its_time(tmp_path: Path) -> None:
    story = Story(tmp_path, hour=DAY, policies=ASKING)
    story.cluster.lose("train-02")
    story.until(lambda: story.desk.asks())
    told = Reporter(story.watch, None).report()
    (item,) = section(told, "waits").items
    assert item.proposal == story.desk.asks()[0].id
    assert re.search(r"Asked at \d\d:\d\d, until \d\d:\d\d", item.more)
    assert "1 question waits for you." in told.headline
    story.journal.close()


def test_a_stop_is_the_first_thing_that_is_said(tmp_path: Path) -> None:
    story = Story(tmp_path)
    story.desk.stop(ALICE, "the switch is changed")
    story.turns(1)
    told = Reporter(story.watch, None).report()
    assert told.headline[0] == "The watch is stopped, by primary."
    assert "the switch is changed" in texts(told, "waits").lower()
    story.journal.close()


def test_each_item_names_lines_of_the_journal_that_are_there(
    reporter: Reporter, lived: Story
) -> None:
    known = {e.seq for e in lived.journal.events()}
    told = reporter.report()
    assert {seq for s in told.sections for i in s.items for seq in i.seqs} <= known
    keys = [i.key for s in told.sections for i in s.items]
    assert len(keys) == len(set(keys))


def test_a_lab_is_called_simulated_in_every_form(reporter: Reporter) -> None:
    told = reporter.report()
    assert told.simulated
    assert "Simulated data: lab" in as_markdown(told)
    assert "Simulated data: lab" in as_html(told)


def test_a_world_that_is_not_known_counts_as_simulated() -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    night = night_of((), now - timedelta(hours=1), now, UTC_ZONE)
    told = report(night, Books(), None)
    assert told.simulated
    assert "not known" in as_markdown(told)


def test_without_a_policy_budgets_and_endings_are_unknown_not_none_used() -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    told = report(night_of((), now - timedelta(hours=1), now, UTC_ZONE), Books(), None)
    assert (told.limits, told.endings) == (None, None)
    assert as_markdown(told).count("Not known: the policy is not at hand.") == 2


def test_a_time_without_a_watch_is_told_as_unsure(tmp_path: Path) -> None:
    begin = datetime(2026, 11, 20, tzinfo=UTC)

    def event(seq: int, minute: int, kind: Kind) -> Event:
        at = begin + timedelta(minutes=minute)
        return Event(
            seq=seq, at=at, policy_at=at, steady=60.0 * minute, kind=kind, subject=(),
            data={"text": ""},
            prev="",
        )  # fmt: skip

    lines = [
        event(1, 0, Kind.WATCH_STARTED),
        event(2, 10, Kind.WATCH_STOPPED),
        event(3, 40, Kind.WATCH_STARTED),
        event(4, 50, Kind.NOTE),
        event(5, 90, Kind.WATCH_STARTED),
    ]
    night = night_of(lines, begin, begin + timedelta(hours=2), UTC_ZONE)
    told = texts(report(night, Books(), None, world="real"), "unsure")
    assert "The watch was not running from 00:10 until 00:40." in told
    assert "ended without a word some time after 00:50, and began again at 01:30" in told


def test_an_exception_is_told_three_days_before_it_ends_and_after() -> None:
    files = {
        "p.yaml": """apiVersion: watchkeeper/v1
kind: Policy
metadata: {name: p, owner: o}
rules:
  - {id: no-drain, effect: deny, enforcement: soft, actions: [node.drain]}
exceptions:
  - {id: EX-1, rule: no-drain, owner: ml, ticket: T-1, until: 2026-11-22, reason: moved}
"""
    }
    policy = load(files, datetime(2026, 11, 1, tzinfo=UTC))
    until = policy.exemptions[0].until

    def told(at: datetime) -> tuple[bool, bool]:
        (ending,) = endings(policy, at)
        return ending.soon, ending.over

    assert told(until - timedelta(hours=73)) == (False, False)
    assert told(until - timedelta(hours=72)) == (True, False)
    assert told(until) == (False, True)
    assert "ml, T-1" in endings(policy, until)[0].text


def _forecast(at: datetime, middle: float) -> Forecast:
    return Forecast(
        pool="train", made_at=at, method="persistence", why="", horizons_s=(3600.0,),
        quantiles=(0.1, 0.5, 0.9), values=((middle - 4, middle, middle + 4),), history_s=1e6,
    )  # fmt: skip


def test_a_forecast_is_held_to_what_came_or_is_not_known() -> None:
    begin = datetime(2026, 11, 20, tzinfo=UTC)
    night = night_of((), begin, begin + timedelta(hours=4), UTC_ZONE)
    night.forecasts["train"] = [_forecast(begin + timedelta(hours=h), 20.0) for h in range(3)]
    came = {"train": [((begin + timedelta(hours=h)).timestamp(), w, 2.0)
                      for h, w in ((1, 18.0), (2, 19.0), (3, 40.0))]}  # fmt: skip
    (item,) = missed(night, came)
    assert item.text.startswith("train: 2 of 3 hours fell into the 80 % band")
    assert item.more == "Too low: at 03:00 20 GPUs were foreseen (16 to 24), and 42 came."
    (unknown,) = missed(night, None)
    assert unknown.text == "How the forecasts for train held is not known."
    (unread,) = missed(night, {"train": []})
    assert unread.text == "How the forecasts for train held is not known."


def test_many_repairs_that_went_alike_are_one_item_and_no_denial_is_lost() -> None:
    """Five times the same night: what is alike is counted, and the counts add up."""
    told = report(_kept("answered"), _books("answered"), None)
    done = sum(e.kind is Kind.EFFECT_STARTED for e in events("answered"))
    refused = sum(e.data.get("result") == "refused" for e in events("answered"))
    assert dict(told.figures)["Actions"] == str(done - refused)


def _kept(name: str):  # type: ignore[no-untyped-def]
    now = events(name)[-1].at
    return night_of(events(name), now - timedelta(hours=14), now, UTC_ZONE)


def _books(name: str) -> Books:
    found = Books()
    for event in events(name):
        found.apply(event)
    return found


def test_the_evening_before_is_in_the_zone_of_the_policy() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    morning = datetime(2026, 3, 29, 6, 0, tzinfo=UTC)  # the night in which clocks went forward
    assert last_evening(morning, berlin) == datetime(2026, 3, 28, 17, 0, tzinfo=UTC)
    assert zone_of(None).key == "UTC"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("12h", timedelta(hours=12)),
        ("90m", timedelta(minutes=90)),
        ("2d", timedelta(days=2)),
        ("2026-11-20T18:00+01:00", datetime(2026, 11, 20, 17, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
    ],
)
def test_a_span_or_a_moment_is_read(text: str, found: object) -> None:
    assert since(text) == found


@pytest.mark.parametrize("text", ["", "soon", "12", "-3h", "9999999d", "2026-13-01", "1h; ls"])
def test_what_is_no_span_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="Write 12h"):
        since(text)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("# heading", "\\# heading"),
        ("1. list", "1\\. list"),
        ("23.8 GPU-hours", "23.8 GPU-hours"),
        ("[a](javascript:x)", "\\[a\\](javascript:x)"),
        ("<img src=x onerror=y>", "&lt;img src=x onerror=y&gt;"),
        ("see https://evil.example", "see https\\://evil.example"),
        ("www.evil.example", "www\\.evil.example"),
        ("@everyone", "\\@everyone"),
        ("a | b", "a \\| b"),
        ("`x`", "\\`x\\`"),
        ("two\nlines\n\n# three", "two lines # three"),
        ("\x1b[31mred\x1b[0m\u202eevil", "redevil"),
    ],
)
def test_text_of_the_cluster_is_only_text_in_markdown(text: str, safe: str) -> None:
    assert md(text) == safe


def test_raw_text_cannot_leave_its_fence() -> None:
    from tests.core.report_journals import after

    found = after("nobody")
    hostile = msgspec.structs.replace(found.timeline[0], raw="```\n# out\n````\n<b>")
    text = postmortem_markdown(msgspec.structs.replace(found, timeline=(hostile,)))
    fences = [line for line in text.splitlines() if re.fullmatch(r"  `{5,}(text)?", line)]
    assert len(fences) == 2
    assert "\n# out" not in text


def test_a_judgement_is_kept_as_a_case_that_can_be_explained(lived: Story, tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    reporter = Reporter(lived.watch, CaseFile(path))
    told = reporter.report()
    item = section(told, "did").items[0]
    reporter.judge(
        item.key, digest(item), ALICE,
        useful=False, since=told.since, until=told.until, note=" too long ",
    )  # fmt: skip
    (line,) = path.read_bytes().splitlines()
    case = msgspec.json.decode(line, type=EvalCase)
    assert (case.judgement.person, case.judgement.useful, case.judgement.note) == (
        "primary",
        False,
        "too long",
    )
    assert case.item == item
    assert case.decision is not None
    assert case.input is not None
    assert inputs_of(msgspec.json.decode(line)).proposal.incident == item.incident
    explained = explain_it(
        str(path), policies=POLICIES, journal=tmp_path / "none", test="", at=told.until
    )
    assert "node." in explained.text
    assert (reporter.judged(ALICE)[0].key, path.stat().st_mode & 0o777) == (item.key, 0o600)


def test_what_is_no_longer_as_shown_is_not_judged(reporter: Reporter) -> None:
    told = reporter.report()
    item = section(told, "did").items[0]
    words = {"useful": True, "since": told.since, "until": told.until, "note": ""}
    with pytest.raises(Refused, match="Read it again"):
        reporter.judge(item.key, "0" * 64, ALICE, **words)
    old = words | {"until": told.until - timedelta(days=2)}
    with pytest.raises(Refused, match="too old"):
        reporter.judge(item.key, digest(item), ALICE, **old)
    assert reporter.judged(ALICE) == ()


def test_no_report_begins_in_the_future_or_a_year_ago(reporter: Reporter) -> None:
    with pytest.raises(UsageError, match="before now"):
        reporter.report(timedelta(0))
    with pytest.raises(UsageError, match="31 days"):
        reporter.report(timedelta(days=400))


def _case(useful: bool, person: str = "ann", key: str = "did:INC-1") -> EvalCase:
    at = datetime(2026, 11, 20, tzinfo=UTC)
    item = Item(key=key, text="train-04: restarted.")
    judgement = Judgement(key=key, digest=digest(item), useful=useful, person=person, at=at)
    return EvalCase(
        judgement=judgement, item=item, cluster="c", world="twin", since=at, until=at,
        policy_version="v", journal_head="h",
    )  # fmt: skip


def test_saying_the_same_twice_is_one_case_and_another_mind_is_a_second(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    cases = CaseFile(path)
    assert [cases.add(_case(True)), cases.add(_case(True)), cases.add(_case(False))] == [
        True,
        False,
        True,
    ]
    assert cases.add(_case(True, person="bob"))
    assert [j.useful for j in CaseFile(path).judged("ann")] == [False]
    assert len(path.read_bytes().splitlines()) == 3


def test_a_line_that_a_crash_cut_short_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    CaseFile(path).add(_case(True))
    with path.open("ab") as file:
        file.write(b'{"judgement": {"key"')
    cases = CaseFile(path)
    assert len(cases.judged("ann")) == 1
    cases.add(_case(False))
    assert [j.useful for j in CaseFile(path).judged("ann")] == [False]


def test_the_command_reads_a_journal_without_a_watch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(gzip.decompress((KEPT / "answered.jsonl.gz").read_bytes()))
    report_command(journal=path)
    assert capsys.readouterr().out == (KEPT / "answered.report.md").read_text()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (sentence("train-01 is gone"), "train-01 is gone."),
        (sentence("the node is gone."), "The node is gone."),
        (closed("Replace train-01?."), "Replace train-01?"),
        (names(["a", "b", "c", "d", "e"]), "a, b, c and 2 more"),
        (names(["a", "b"]), "a and b"),
        (count(0, "page"), "no pages"),
        (span(9660), "2 h 41 min"),
    ],
)
def test_turns_of_phrase(said: str, meant: str) -> None:
    assert said == meant
