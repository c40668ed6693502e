"""A policy drafted from a sentence, and what check, test and diff say of it before it is shown.

Asked by the chat and by `watchkeeper policy draft`. A writer (templates, or a model) writes; this
tries what it wrote beside the orders and over the record. Nothing is taken up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from watchkeeper.core.chat import PolicyDraft
from watchkeeper.core.errors import UsageError

if TYPE_CHECKING:
    from watchkeeper.core.event import Event
    from watchkeeper.core.ports import JournalStore
    from watchkeeper.policy.history.draft import Tried
    from watchkeeper_agents.policy_drafts import Written

MOST_TRIES = 3
"""Times that a writer may mend what check found wrong."""
LONGEST = 300
Writer = Callable[[str, "Written | None", str], "Written | None"]
"""(sentence, what it wrote last, what was wrong with that) to a draft; None: it has none."""


def draft(
    sentence: str,
    orders: Mapping[str, str],
    tests: Mapping[str, str],
    events: Sequence[Event],
    *,
    until: datetime,
    since: timedelta = timedelta(days=30),
    period: str = "30 days",
    writer: Writer | None = None,
    by: str = "",
) -> PolicyDraft:
    """Write it, try it, mend it at most MOST_TRIES times, and say what came out. writer: a model's;
    where it has nothing sound, the templates go on. Raises UsageError where nothing fits, and
    PolicyError where the orders themselves do not load."""
    from watchkeeper.policy.history.draft import FileDraft, tried
    from watchkeeper.policy.load import load
    from watchkeeper_agents.policy_drafts import FITS, written

    said = " ".join(sentence.split())[:LONGEST]
    policy = load(orders, until) if orders else None
    zone = next((str(w.tz) for w in policy.windows.values()), "UTC") if policy else "UTC"
    groups = tuple(policy.people) if policy else ()

    def attempt(made: Written) -> Tried:
        whole = FileDraft(name=_beside(made.name, orders), text=made.text, tests=made.tests)
        return tried(orders, tests, whole, events, since=until - since, until=until)

    best: tuple[Written, Tried, str, int] | None = None
    made: Written | None = None
    wrong = ""
    for number in range(1, MOST_TRIES + 1) if writer is not None else ():
        made = writer(said, made, wrong)  # type: ignore[misc]
        if made is None:
            break
        found = attempt(made)
        best = (made, found, by, number)
        wrong = _wrong(made, found)
        if not wrong:
            break
    if best is None or _wrong(best[0], best[1]):
        made = written(said, zone, groups)
        if made is not None:
            best = (made, attempt(made), "rules, no model", 1)
    if best is None:
        fits = "; ".join(FITS)
        raise UsageError(
            f"No template fits this sentence. They read, for example: {fits}. "
            "docs/policy/cookbook.md has twenty recipes."
        )
    made, found, whose, number = best
    return _told(said, made, found, whose, number, period, _beside(made.name, orders))


def as_text(made: PolicyDraft) -> str:
    """The draft with its evidence as comments at its head: what the command line prints."""
    head = [
        f"{made.file}: drafted by {made.by}. Nothing has changed yet. Read it, put it and its",
        "tests into the folder of orders, and run `watchkeeper policy check` and `policy test`.",
        f"Check: {made.check}",
        f"Test: {made.tested}",
        made.diff,
    ]
    comment = "".join(f"# {line}".rstrip() + "\n" for x in head for line in x.splitlines())
    tests = f"\n# {made.test_file}:\n" + "".join(
        f"#   {line}".rstrip() + "\n" for line in made.tests.splitlines()
    )
    return f"{comment}{made.text}{tests}".rstrip()


READ = 20_000
"""Lines of the record, the newest, that a draft is held against from the chat."""


def newest(journal: JournalStore) -> list[Event]:
    """The newest lines of a record: the chat answers while a person waits."""
    return list(journal.events(max(0, journal.head[0] - READ)))


def drafter_of(
    read: Callable[[], tuple[Mapping[str, str], Mapping[str, str]]],
    events: Callable[[], Sequence[Event]],
    now: Callable[[], datetime],
    writer: Writer | None = None,
    by: str = "",
) -> Callable[[str], PolicyDraft]:
    """The chat's drafter over one watch: its folder as it is now, and the newest of its record."""

    def made(sentence: str) -> PolicyDraft:
        orders, tests = read()
        return draft(sentence, orders, tests, events(), until=now(), writer=writer, by=by)

    return made


def _wrong(made: Written, found: Tried) -> str:
    """What is wrong with the draft itself; tests of the folder that it makes say otherwise are its
    effect, and shown as that."""
    if found.found is None:
        return found.check[:2000]
    own = f"{made.name.removesuffix('.yaml')}_test.yaml"
    return "\n".join(p for p in found.problems if own in p)[:2000]


def _beside(name: str, orders: Mapping[str, str]) -> str:
    """The file's name in the folder that the orders lie in."""
    folder = next((n.rpartition("/")[0] for n in orders if "/" in n), "")
    return f"{folder}/{name}" if folder else name


def _told(
    said: str, made: Written, found: Tried, by: str, tries: int, period: str, name: str
) -> PolicyDraft:
    from watchkeeper.policy.history.draft import replay_lines

    check = found.check.strip()
    if found.found is not None:  # it loads: what matters is the one line that says so
        check = next((x for x in check.splitlines() if x.startswith("The policy is sound")), check)
    wrong = _wrong(made, found)
    tested = [f"{found.passed} of {found.tests} tests hold with it."]
    if found.found is None:
        tested = ["Not tested, since it does not load."]
    elif found.problems and not wrong:
        tested.append(
            "Its own hold. These of the folder state what it changes, and change with it:"
        )
    base = made.name.rpartition("/")[2]
    return PolicyDraft(
        sentence=said,
        file=base,
        text=made.text,
        test_file=f"{base.removesuffix('.yaml')}_test.yaml",
        tests=found.own_tests or made.tests,
        sound=not wrong,
        check=check.replace(name, base)[:3000],
        tested="\n".join([*tested, *map(str, found.problems[:6])])[:3000],
        diff="\n".join(replay_lines(found, period))[:3000],
        by=by,
        tries=tries,
    )
