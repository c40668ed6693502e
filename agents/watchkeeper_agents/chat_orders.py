"""Which order a sentence gives, by a small grammar and no model; None for a question.

Pure: the same words over the same first page always mean the same. A target is a name that the
record knows; what is not understood whole becomes a sentence that says what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from watchkeeper.core.chat import (
    MOST_STEPS,
    Dialled,
    Drafted,
    Elsewhere,
    Halted,
    Held,
    Order,
    Ordered,
)
from watchkeeper.core.desk import Board
from watchkeeper.core.hold import WHOLE
from watchkeeper.core.verdict import Autonomy
from watchkeeper_agents.chat_times import numbers, until_of

_POLITE = re.compile(
    r"^(?:hey |hi |ok |okay )?(?:watch(?:keeper)?[,: ]+)?"
    r"(?:please |now |can you |could you |would you |will you |i want (?:you )?to |let'?s )*"
)
_TAIL = re.compile(r"(?:[ ,]+(?:please|thanks|thank you|now|at once|immediately))+$")

_STOP = re.compile(
    r"(?:emergency )?(?:stop|halt)(?: (?:everything|all|it|the watch|acting|all actions|yourself))?"
)
_WIDER = (
    (
        re.compile(r"(?:resume|unstop|restart the watch|clear the (?:stop|halt|latch))\b.*"),
        "The chat does not resume a watch. An operator does: the button on the first page, or "
        "`watchkeeper resume`.",
    ),
    (
        re.compile(r"(?:approve|deny|reject|allow|grant|permit|confirm)\b.*"),
        "The chat answers no question and grants nothing. Each question has its page with its "
        "buttons; `watchkeeper approvals` lists them.",
    ),
    (
        re.compile(r"break[ -](?:the )?glass\b.*|lift (?:the )?(?:soft )?rule\b.*"),
        "The chat lifts no rule. Who is in the group break-glass runs `watchkeeper break-glass "
        "P-1 --reason …`; another person reviews it.",
    ),
    (
        re.compile(r"(?:release|end|lift|remove|cancel|drop)(?: the| my| that| this)? holds?\b.*"),
        "The chat ends no hold, since that lets more happen. An operator releases it on /policy, "
        "or by `watchkeeper release H-1`.",
    ),
    (
        re.compile(r"(?:release|lift) h-\d+"),
        "The chat ends no hold, since that lets more happen. An operator releases it on /policy, "
        "or by `watchkeeper release H-1`.",
    ),
)
_DIAL = re.compile(
    r"(?:(?:turn |set |put |move )?(?:the )?(?:dial|autonomy)(?: it)?(?: down| up| back)?"
    r"(?: to| at)?|go|switch|change)(?: to)? (observe|ask|auto)(?: only)?"
    r"|(?:only |just )?(observe|ask)(?: only)?"
)
_DRAFT = re.compile(
    r"(?:draft|write|make|suggest|propose) (?:me )?(?:a |an |some )?"
    r"(?:policy|rule|order|standing order)s?(?: that says| which says| saying| that| which| so that"
    r"| to| for|:)? (?P<sentence>.+)"
)

_TOUCHING = (
    "draining|restarting|rebooting|resetting|replacing|cordoning|fencing|repairing|touching|"
    "working on|preempting|quarantining|anything on|anything with|actions on|acting on|changing"
)
_TOUCH = "drain|restart|reboot|reset|replace|cordon|fence|repair|touch|preempt|quarantine"
_HOLD = re.compile(
    rf"(?:(?:stop|no more|pause|hold off|avoid|quit) (?:{_TOUCHING})"
    rf"|(?:do not|don'?t|never) (?:{_TOUCH})"
    r"|hold|freeze|(?:keep )?hands off|(?:keep|stay) (?:away|off|out)(?: from| of)?|leave) "
    r"(?P<what>.+)"
)
_ALONE = re.compile(r"\b(?:alone|in peace|untouched|as (?:it|they) (?:is|are))\b")

_VERBS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?:cordon|fence)(?: off)? (?P<what>.+)"), "node.cordon"),
    (re.compile(r"(?:uncordon|unfence|open) (?P<what>.+)"), "node.uncordon"),
    (
        re.compile(
            r"(?:put|give|bring|take) (?P<what>.+?) back"
            r"(?: (?:in|into|to)(?: (?:service|work|use))?)?"
        ),
        "node.uncordon",
    ),
    (re.compile(r"drain (?P<what>.+)"), "node.drain"),
    (re.compile(r"restart (?P<what>.+)"), "node.restart"),
    (re.compile(r"reboot (?P<what>.+)"), "node.reboot"),
    (re.compile(r"replace (?P<what>.+)"), "node.replace"),
    (re.compile(r"(?:run a check on|check|test) (?P<what>.+)"), "check.run"),
    (re.compile(r"reset gpu (?P<gpu>\d{1,3}) (?:on|of) (?P<what>.+)"), "gpu.reset"),
    (
        re.compile(r"(?:quarantine|hide) gpu (?P<gpu>\d{1,3}) (?:on|of) (?P<what>.+)"),
        "gpu.quarantine",
    ),
    (re.compile(r"(?:requeue|resubmit|re-queue) (?P<what>.+)"), "job.requeue"),
    (re.compile(r"(?:preempt|pre-empt) (?P<what>.+)"), "job.preempt"),
)
_MORE = re.compile(
    r"(?:add |give (?:me|us) |we need |i need )?(?P<n>\w+) (?:more |extra )?(?:gpu )?nodes?"
    r"(?: more)?(?: (?:for|in|to|on)(?: pool)? (?P<pool>(?!the\b|now\b)\S+))?(?P<when> .*)?"
)
_GROW = re.compile(
    r"(?:scale|grow)(?: pool)? (?P<pool>\S+)(?: up)? by (?P<n>\w+)(?: nodes?)?(?P<when> .*)?"
)
_ASKS = (
    "why",
    "what",
    "who",
    "when",
    "where",
    "how",
    "which",
    "is",
    "are",
    "does",
    "did",
    "do you",
)
_WHO = re.compile(r"^(?:the )?(?P<kind>nodes?|racks?|pools?|jobs?|gangs?)? ?(?P<name>.*)$")
_CONDITION = re.compile(r"\b(?:if|when|unless|except|every|each time|after|before|because)\b")


def order_of(text: str, board: Board) -> Order | None:
    """The order that this sentence gives, or None where it asks something. Raises nothing."""
    said = _TAIL.sub("", " ".join(text.lower().split()).rstrip(" .!?"))
    said = _POLITE.sub("", said, count=1)
    if not said or said.startswith(_ASKS):
        return None
    if _STOP.fullmatch(said):
        return Halted()
    for pattern, says in _WIDER:
        if pattern.fullmatch(said):
            return Elsewhere(says=says)
    if found := _DRAFT.fullmatch(said):
        return Drafted(sentence=found["sentence"])
    if found := _DIAL.fullmatch(said):
        return Dialled(level=Autonomy(found[1] or found[2]))
    if found := _HOLD.fullmatch(said):
        return _hold(found["what"], text, board)
    return _step(said, board) or _growth(said, board)


def _hold(what: str, text: str, board: Board) -> Order:
    until, rest = until_of(what, board)
    if until is None:
        return Elsewhere(says="I do not understand until when. Write: until 07:00, or for 2 hours.")
    rest = _ALONE.sub(" ", rest).strip(" ,")
    rest = re.sub(r"^(?:from|on|of) ", "", rest)
    if rest in ("", "it", "everything", "all", "the cluster", "the fleet", "all of it", "anything"):
        keys: tuple[str, ...] = (WHOLE,) if rest not in ("", "it") else ()
    else:
        keys = _keys(rest, board)
    if not keys:
        return Elsewhere(says=_unknown(rest, board, "hold"))
    return Held(what=keys, until=until, said=" ".join(text.split())[:200])


def _step(said: str, board: Board) -> Order | None:
    for pattern, kind in _VERBS:
        found = pattern.fullmatch(said)
        if found is None:
            continue
        what = found["what"]
        if _CONDITION.search(what):
            return Elsewhere(
                says="The chat asks for single steps, now. What shall hold for every such case is "
                "a policy: begin with `draft a policy that …`."
            )
        jobs = kind.startswith("job.")
        names = _jobs(what, board) if jobs else _nodes(what, board)
        if not names:
            return Elsewhere(says=_unknown(what, board, "job" if jobs else "node"))
        if len(names) > MOST_STEPS:
            return Elsewhere(
                says=f"That names {len(names)} targets, and one card lists at most {MOST_STEPS}, "
                "so that each is read. Name fewer."
            )
        gpu = found.groupdict().get("gpu")
        if gpu is not None and len(names) > 1:
            return Elsewhere(says="Name one node for that GPU.")
        return Ordered(kind=kind, targets=names, gpu=None if gpu is None else int(gpu))
    return None


def _growth(said: str, board: Board) -> Order | None:
    found = _GROW.fullmatch(said) or _MORE.fullmatch(said)
    count = numbers(found["n"]) if found else None
    if found is None or count is None:
        return None
    pools = [p.pool for p in board.pools]
    named = (found["pool"] or "").strip(" ,")
    if named and named not in [p.lower() for p in pools]:
        return Elsewhere(says=_unknown(named, board, "pool"))
    if not named and len(pools) != 1:
        return Elsewhere(says=f"Say for which pool: {', '.join(pools) or 'there is none yet'}.")
    pool = next(p for p in pools if not named or p.lower() == named)
    if not 1 <= count <= 100:
        return Elsewhere(says="Say a number of nodes between 1 and 100.")
    night = "tonight" in (found["when"] or "") or "night" in (found["when"] or "")
    return Ordered(kind="pool.scale", targets=(pool,), add=count, tonight=night)


def named_in(text: str, board: Board) -> tuple[str, ...]:
    """The names that a sentence holds and the record knows, as the record writes them."""
    words = set(re.findall(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?", text.lower()))
    known = (
        *(n.name for n in board.nodes),
        *(j.name for j in board.jobs),
        *(n.rack for n in board.nodes),
        *(n.pool for n in board.nodes),
        *(a.id for a in board.waiting),
    )
    found = [n for n in dict.fromkeys(known) if n and n.lower() in words]
    found += [w.upper() for w in words if re.fullmatch(r"(?:inc|p|h)-\d{1,9}", w)]
    return tuple(dict.fromkeys(found))[:24]


# Names in words to names of the record.


def _parts(what: str) -> list[tuple[str, str]]:
    """(kind, name) of each thing named: `nodes a, b and rack 4`. A kind said once goes on."""
    found: list[tuple[str, str]] = []
    kind = ""
    for part in re.split(r"\s*(?:,|;|\band\b|\+)\s*", what):
        match = _WHO.match(part.strip())
        if match is None or not match["name"].strip():
            continue
        kind = (match["kind"] or kind).rstrip("s")
        found.append(("job" if kind == "gang" else kind, match["name"].strip()))
    return found


def _nodes(what: str, board: Board) -> tuple[str, ...]:
    """Names of nodes; a rack or a pool stands for its nodes. () where one part is unknown."""
    names: list[str] = []
    for kind, name in _parts(what):
        if kind in ("rack", "pool"):
            value = _named(name, {getattr(n, kind) for n in board.nodes})
            names += [n.name for n in board.nodes if value and getattr(n, kind) == value]
            if not value:
                return ()
            continue
        value = _named(name, {n.name for n in board.nodes})
        if kind == "job" or not value:
            return ()
        names.append(value)
    return tuple(dict.fromkeys(names))


def _jobs(what: str, board: Board) -> tuple[str, ...]:
    found = [_named(name, {j.name for j in board.jobs}) for _, name in _parts(what)]
    return tuple(dict.fromkeys(found)) if all(found) else ()


def _keys(what: str, board: Board) -> tuple[str, ...]:
    """Keys of what is named, of any kind. () where one part is unknown."""
    known = {
        "node": {n.name for n in board.nodes},
        "job": {j.name for j in board.jobs},
        "pool": {n.pool for n in board.nodes},
        "rack": {n.rack for n in board.nodes},
    }
    keys: list[str] = []
    for kind, name in _parts(what):
        kinds: Iterable[str] = [kind] if kind else known
        found = [f"{k}:{v}" for k in kinds if (v := _named(name, known[k]))]
        if not found:
            return ()
        keys.append(found[0])
    return tuple(dict.fromkeys(keys))


def _named(said: str, known: set[str]) -> str:
    """The one name that is meant: letter for letter, or the one name that ends in what was said
    (`rack 4` is r4 where no other rack ends in 4; `r4` is train-r4)."""
    for name in known:
        if name and name.lower() == said:
            return name
    if said.isdigit():
        ends = [n for n in known if re.fullmatch(rf"[^\d]*0*{int(said)}", n)]
        return ends[0] if len(ends) == 1 else ""
    ends = [n for n in known if n.lower().endswith(f"-{said}")]
    return ends[0] if len(ends) == 1 else ""


def _unknown(what: str, board: Board, kind: str) -> str:
    names = {
        "node": sorted(n.name for n in board.nodes),
        "job": sorted(j.name for j in board.jobs),
        "pool": sorted({n.pool for n in board.nodes if n.pool}),
        "hold": sorted({n.rack for n in board.nodes if n.rack} | {n.pool for n in board.nodes}),
    }[kind]
    whom = {"job": "gang", "hold": "node, rack, pool or gang"}.get(kind, kind)
    if near := get_close_matches(what.split(" ")[-1], [n.lower() for n in names], 3, 0.7):
        meant = ", ".join(n for n in names if n.lower() in near)
        return f"The record knows no such {whom}. Did you mean {meant}? Nothing was done."
    known = ", ".join([n for n in names if n][:12]) + (", …" if len(names) > 12 else "")
    said = "I need a name." if not what.strip() else f"The record knows no such {whom}."
    return f"{said} Nothing was done. Known: {known or 'nothing yet'}."


def offered(board: Board) -> tuple[str, ...]:
    """Orders that make sense now, to be completed as they are typed."""
    fenced = [n.name for n in board.nodes if n.state == "cordoned"]
    ill = [n.name for n in board.nodes if n.state not in ("healthy", "cordoned")]
    stopped = [j.name for j in board.jobs if j.state == "stopped"]
    pools = [p.pool for p in board.pools]
    return (
        *(f"Put {name} back" for name in fenced[:3]),
        *(f"Cordon {name}" for name in ill[:3]),
        *(f"Requeue {name}" for name in stopped[:3]),
        *(f"Leave pool {pool} alone until 07:00" for pool in pools[:2]),
        *(f"2 more nodes for {pool} tonight" for pool in pools[:1]),
        "Draft a policy that asks before anything drains before 06:00",
        "Dial down to ask",
    )
