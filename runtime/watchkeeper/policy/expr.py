"""Conditions: the only door to CEL. Text in; true, not true, or an error out.

An error of CEL is a *value*, and its plain form is a non-empty string: true to Python. So here
only a value of type BOOL that is True holds; whatever else comes back is an error, and the judge
denies on it.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from watchkeeper.core.facts import FACTS, NEVER_S, Facts
from watchkeeper.policy.clauses import Clauses, clauses_of
from watchkeeper.policy.cost import too_much
from watchkeeper.policy.slips import FUNCTIONS, Slip, function_meant, slips_in
from watchkeeper.policy.syntax import Tree, names_in, tree_of

MAX_LENGTH = 2048
"""Longest condition, in characters. A longer one is several rules."""

MAX_EXPANDED = 16_384
"""Longest condition once its variables and lists are written out."""

MAX_ITEMS = 1_000
"""Most items of a list or map fact that a condition sees; a longer one is an error."""

MAX_CHARACTERS = 1_024
"""Longest text of a fact that a condition sees; a longer one is an error."""

NOW = "now"
"""The policy's time: the one name beside the declared facts."""


@dataclass(frozen=True, eq=False, slots=True)
class Condition:
    """A condition that compiled to BOOL. names: the declared facts that it reads. clauses: what
    it says where an index can tell it, else None."""

    text: str
    names: frozenset[str]
    tree: Tree
    program: Any
    clauses: Clauses | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """The conditions of many rules, in one program: crossing into CEL costs more than most
    conditions do. program: gives a list of booleans; None where they must go one by one."""

    conditions: tuple[Condition, ...]
    program: Any


class Fault(NamedTuple):
    """Why a text is no condition. line and column are 1-based, within the text."""

    line: int
    column: int
    message: str
    offending: str = ""
    among: tuple[str, ...] = ()
    """The words that would have been right here; () where facts would."""


class Answer(NamedTuple):
    """What a condition said. error is "" unless it could not be decided; then holds is False."""

    holds: bool
    error: str = ""


_YES, _NO = Answer(True), Answer(False)


@functools.lru_cache(maxsize=4096)
def compile_condition(text: str, longest: int = MAX_LENGTH) -> Condition | tuple[Fault, ...]:
    """Parse and type-check one condition, or say everything that is wrong with it.

    Remembered by text, so a reload compiles only what changed.
    """
    compiled = compile_part(text, longest)
    if isinstance(compiled, Condition) and (returns := _type_of(compiled)) != "BOOL":
        said = f"a condition must be true or false; this is of type {returns.lower()}"
        return (Fault(1, 1, said, text.strip()[:60]),)
    return compiled


@functools.lru_cache(maxsize=4096)
def compile_part(text: str, longest: int = MAX_LENGTH) -> Condition | tuple[Fault, ...]:
    """As `compile_condition`, for a part of one: it may be of any type."""
    if len(text) > longest:
        return (Fault(1, 1, f"a condition may have {longest} characters, not {len(text)}"),)
    if not text.strip():
        return (Fault(1, 1, "a condition must not be empty; leave `when` out to match always"),)
    try:
        program = _environment().compile(text)
    except Exception as err:  # the binding raises RuntimeError for every kind of refusal
        return _faults(str(err), text)
    tree = tree_of(program.serialize())
    if (costs := too_much(tree, text)) is not None:
        return (_fault_at(text, *costs),)
    return Condition(text, names_in(tree) - {NOW}, tree, program, clauses_of(tree))


def _type_of(compiled: Condition) -> str:
    return str(compiled.program.return_type().name())


@functools.lru_cache(maxsize=256)
def batch(conditions: tuple[Condition, ...]) -> Batch:
    """Put conditions together into one program. Each stands on lines of its own, so that a
    comment ends with its condition; what does not compile as one goes one by one."""
    if len(conditions) < 2:
        return Batch(conditions, None)
    text = "[\n" + ",\n".join(f"({c.text}\n)" for c in conditions) + "]"
    try:
        return Batch(conditions, _environment().compile(text))
    except Exception:  # too deep or too long once put together
        return Batch(conditions, None)


def activate(facts: Facts, names: Iterable[str], now: datetime) -> Any:
    """Bind `names` and the time, once for all conditions of a verdict.

    A name without a value stays unbound: a condition that reads it gives an error, never false.
    """
    values: dict[str, Any] = {name: facts[name] for name in names if name in facts}
    for name, value in tuple(values.items()):
        if name in _DURATIONS:
            values[name] = _duration(value)
        elif type(value) not in _ALWAYS_FIT and _unfit(value):
            del values[name]
    values[NOW] = now
    return _environment().Activation(values)


def not_silent(batch: Batch, activation: Any) -> list[tuple[int, Answer]]:
    """What `evaluate` says of each condition, with its place, in one go where that is possible.
    Those that are plainly false are left out: they are by far the most."""
    values = _in_one_go(batch, activation)
    if values is None:
        answers = enumerate(evaluate(condition, activation) for condition in batch.conditions)
        return [(place, answer) for place, answer in answers if answer.holds or answer.error]
    return [(place, _YES) for place, value in enumerate(values) if value is True]


def _in_one_go(batch: Batch, activation: Any) -> list[object] | None:
    """What the one program gives; None where each condition must be asked alone.

    One error makes the whole list an error; then the rule at fault is to be named, and the others
    are to be heard.
    """
    if batch.program is None:
        return None
    try:
        values = batch.program.eval(activation).plain_value()
    except Exception:  # as in `evaluate`
        return None
    fits = isinstance(values, list) and len(values) == len(batch.conditions)
    return values if fits else None


def evaluate(condition: Condition, activation: Any) -> Answer:
    """Does it hold? Only the BOOL true does; an ERROR, or any other type, is an error."""
    try:
        value = condition.program.eval(activation)
    except Exception as err:  # the binding raises when the iteration budget is spent
        return Answer(False, str(err)[:300] or type(err).__name__)
    kind = value.type()
    if kind != _bool_type():
        said = _NO_VALUE.sub(
            r"\1 has no value, or one too long or with a null character", f"{value.plain_value()}"
        )
        return Answer(False, said[:300] or f"the value is a {kind.name()}")
    return _YES if value.plain_value() is True else _NO


@functools.lru_cache(maxsize=1024)
def literal_fault(function: str, argument: str) -> str:
    """Why a literal can never work, such as `duration("5 minutes")`; "" when it can."""
    if function == "duration" and _PLAIN_DURATION.fullmatch(argument):
        return ""
    quoted = '"' + argument.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    probe = {
        "duration": f'duration({quoted}) == duration("1s")',
        "timestamp": f"timestamp({quoted}) == {NOW}",
        "matches": f'"".matches({quoted})',
    }.get(function, f"{NOW}.{function}({quoted}) == 0")
    try:
        value = _environment().compile(probe).eval(_environment().Activation({NOW: _EPOCH}))
    except Exception as err:
        return str(err).splitlines()[0][:200]
    return "" if value.type() == _bool_type() else str(value.plain_value())[:200]


_PLAIN_DURATION = re.compile(r"\d{1,6}(?:\.\d{1,9})?[smh]", re.ASCII)
"""Durations that CEL reads for sure; asking it costs as much as to compile a condition."""


def _unfit(value: Any) -> bool:
    """Is a value too long, or does it hold a null character? The binding ends a text there, so
    that `admin\\0x` would equal `admin`."""
    try:
        match value:
            case str():
                return len(value) > MAX_CHARACTERS or "\0" in value
            case dict():
                if len(value) > MAX_ITEMS:
                    return True
                return "\0" in "".join(value) or "\0" in "".join(value.values())
            case list():
                return len(value) > MAX_ITEMS or "\0" in "".join(value)
    except TypeError:  # something in it is no text: the binding refuses it
        return False
    return False


_ALWAYS_FIT = frozenset((bool, int, float))
_DURATIONS = frozenset(name for name, fact in FACTS.items() if fact.type == "duration")
_EPOCH = datetime.fromisoformat("2026-01-01T00:00:00+00:00")


def _duration(seconds: Any) -> timedelta:
    if type(seconds) is float and 0.0 <= seconds <= NEVER_S:
        return timedelta(0, seconds)  # nearly all of them
    number = float(seconds)
    if math.isnan(number):
        raise ValueError("a duration is not a number")
    return timedelta(seconds=max(-NEVER_S, min(number, NEVER_S)))


@functools.cache
def _environment() -> Any:
    """One environment with every declared fact; imported late, since the library is large."""
    from cel_expr_python import cel

    kinds = {
        "bool": cel.Type.BOOL,
        "int": cel.Type.INT,
        "double": cel.Type.DOUBLE,
        "string": cel.Type.STRING,
        "duration": cel.Type.DURATION,
        "map": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
        "list": cel.Type.List(cel.Type.STRING),
    }
    declared = {name: kinds[fact.type] for name, fact in FACTS.items()}
    return cel.NewEnv(variables={**declared, NOW: cel.Type.TIMESTAMP})


@functools.cache
def _bool_type() -> Any:
    from cel_expr_python import cel

    return cel.Type.BOOL


_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_NO_VALUE = re.compile(r'UNKNOWN: No value with name "([^"]*)" found in Activation')
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '(.*)'")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def _faults(message: str, text: str) -> tuple[Fault, ...]:
    """CEL's own message as faults, each with its place and a hint people can act on."""
    slips = slips_in(text) if "Syntax error" in message else ()
    if slips:
        return tuple(_placed(text, slip) for slip in slips)
    found = []
    for match in _ERROR.finditer(message):
        line, column, said = (
            int(match[1]),
            int(match[2]),
            match[3].removesuffix(" [INVALID_ARGUMENT]"),
        )
        undeclared = _UNDECLARED.search(said)
        if undeclared:
            name = undeclared[1]
            begins = text.splitlines()[line - 1].rfind(name, 0, column + len(name)) + 1
            found.append(_unknown(text, line, begins or column, name))
            continue
        found.append(Fault(line, column, _plainly(said), _word_at(text, line, column)))
    first = message.splitlines()[0].removeprefix("INVALID_ARGUMENT: ")[:200]
    return tuple(found) or (Fault(1, 1, f"the condition does not parse: {first}"),)


def _placed(text: str, slip: Slip) -> Fault:
    return _fault_at(text, slip.at, slip.message)._replace(offending="")


def _unknown(text: str, line: int, column: int, name: str) -> Fault:
    after = text.splitlines()[line - 1][column - 1 + len(name) :]
    if not after.lstrip().startswith("("):
        return Fault(line, column, f"{name!r} is not a declared fact", name)
    said = f"{name!r} is not a function of conditions"
    if meant := function_meant(name):
        return Fault(line, column, f"{said}: write {meant}")
    return Fault(line, column, said, name, FUNCTIONS)


def _fault_at(text: str, offset: int, said: str) -> Fault:
    before = text[: max(offset, 0)]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return Fault(line, column, said, _word_at(text, line, column))


def _plainly(said: str) -> str:
    overload = _OVERLOAD.search(said)
    if overload is None:
        if re.search(r"extraneous input '[smhd]'", said):
            return 'a duration is written duration("5m"), not 5m'
        return said.split(" expecting {")[0]
    operator = overload[1].replace("_", "").strip() or overload[1]
    types = overload[2].strip("()").replace("google.protobuf.", "")
    hint = ""
    kinds = {t.strip() for t in types.split(",")}
    if kinds == {"double", "int"}:
        hint = ": write 1.0 and not 1 beside a double, or double(n) around a whole number"
    elif "Duration" in kinds and kinds & {"int", "double", "string"}:
        hint = ': write duration("5m") for five minutes'
    return f"{operator!r} does not take ({types}){hint}"


def _word_at(text: str, line: int, column: int) -> str:
    lines = text.splitlines()
    if line > len(lines):
        return ""
    match = _WORD.match(lines[line - 1], max(column - 1, 0))
    return match[0] if match else lines[line - 1][column - 1 : column]
