"""Links to evidence in an answer: ids, nodes, lines and rules that the record knows. Pure.

Only what we wrote, or the record knows, becomes a link, and only to our own pages; the rest of the
text is tamed and escaped.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from markupsafe import Markup, escape

from watchkeeper.console.tame import tame_lines
from watchkeeper.core.desk import Board

_REFERENCE = re.compile(
    r"\b(?:(?P<incident>INC-\d{1,9})|(?P<proposal>P-\d{1,9})|(?P<hold>H-\d{1,9})"
    r"|line (?P<line>\d{1,12})"
    r"|(?P<rule>policies/[\w./-]{1,120}\.yaml:\d{1,6}))\b"
    r"|(?<![\w/])(?P<page>/(?:report|policy|forecast|agents|costs|journal|fleet))\b"
    r"|(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{1,252}[A-Za-z0-9])"
)
_QUOTED = re.compile(r" (?=\d\d:\d\d:\d\d [A-Z])")
"""Before each line of the log that is quoted: one a line."""


def linked(text: str, board: Board, cap: int = 4000) -> Markup:
    """The answer with links to what it rests on."""
    said = _QUOTED.sub("\n", tame_lines(text, cap))
    nodes = {node.name for node in board.nodes}
    parts: list[Markup] = []
    at = 0
    for found in _REFERENCE.finditer(said):
        where = _where(found, nodes)
        if where:
            parts += [escape(said[at : found.start()]), _link(where, found.group())]
            at = found.end()
    return Markup("").join([*parts, escape(said[at:])])


NEVER_BROKEN = 28
"""A longer name may break across lines."""


def where_id(where: str) -> str:
    """The anchor of a rule on the page of the policy, by its file and line."""
    return "w-" + re.sub(r"[^A-Za-z0-9]+", "-", where)


def _where(found: re.Match[str], nodes: set[str]) -> str:
    """An address of ours, or "" for a word like any other."""
    kind, value = found.lastgroup, found.group(found.lastgroup or 0)
    match kind:
        case "incident":
            return f"/i/{value}"
        case "proposal":
            return f"/a/{value}"
        case "hold":
            return "/policy#h"
        case "line":
            return f"/journal?before={int(value) + 1}#j{value}"
        case "rule":
            return f"/policy#{where_id(value)}"
        case "page":
            return value
        case "name":
            return f"/nodes/{quote(value, safe='')}" if value in nodes else ""
    return ""


def _link(where: str, text: str) -> Markup:
    kept = Markup(' class="nb"') if len(text) <= NEVER_BROKEN else ""
    return Markup('<a{} href="{}">{}</a>').format(kept, where, text)
