"""The conditions of a whole policy: variables and lists written out, compiled, and every fault
placed where the author wrote it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

from watchkeeper.core.action import TRAITS
from watchkeeper.core.facts import FACTS, declared_for
from watchkeeper.policy.expr import (
    MAX_EXPANDED,
    MAX_LENGTH,
    Condition,
    Fault,
    compile_condition,
    compile_part,
)
from watchkeeper.policy.guards import Flaw, flaws_of, literal_flaws
from watchkeeper.policy.reader import At, Reader
from watchkeeper.policy.reuse import Expanded, Use, expand, uses_in, written_out
from watchkeeper.policy.sections import Documents
from watchkeeper.policy.yaml_text import Mark, Scalar

_declared = functools.cache(declared_for)  # a few sets of scopes, asked for by each rule


class Conditions:
    """Compiles conditions for one set of files. Reports what is wrong with its variables and
    lists when it is made, and with each condition when that is asked for."""

    def __init__(self, documents: Documents) -> None:
        self._variables = dict(_named(documents, "variables", "variable"))
        self._lists = dict(_named(documents, "lists", "list"))
        self._used: set[tuple[str, str]] = set()
        texts = {n: str(spec.value) for n, (_, spec) in self._variables.items()}
        words = {n: tuple(w.value for w in s.value) for n, (_, s) in self._lists.items()}
        self._meanings = written_out(texts, words, MAX_EXPANDED)
        self._wrong: set[str] = set()
        for name in sorted(self._meanings.circles):
            reader, spec = self._variables[name]
            reader.problem(spec.mark, f"the variable {name!r} stands for itself", name)
        for what, name in sorted(self._meanings.too_long):
            reader, spec = (self._variables if what == "var" else self._lists)[name]
            said = f"{what}.{name} is longer than {MAX_EXPANDED} characters once written out"
            reader.problem(spec.mark, said, name)
        for name in self._variables:
            if name not in self._meanings.variables:
                self._expanded(*self._variables[name])  # names that are not known, all the same
        for name in self._meanings.variables:  # inner ones first
            self._check_variable(name, *self._variables[name])

    def of(self, reader: Reader, at: At | None, actions: frozenset[str]) -> Condition | None:
        """A condition over the facts that all these kinds of action have; None where none is
        written or, reported, where it is wrong."""
        if at is None or at.scalar is None:
            return None
        if len(at.value) > MAX_LENGTH:
            said = f"a condition may have {MAX_LENGTH} characters, not {len(at.value)}"
            reader.problem(at.mark, said)
            return None
        expanded = self._expanded(reader, at)
        if expanded is None:
            return None
        compiled = compile_condition(expanded.text, MAX_EXPANDED)
        declared = _declared(tuple(sorted({TRAITS[kind].scope for kind in actions})))
        place = _Place(reader, at.scalar, expanded)
        if not isinstance(compiled, Condition):
            for fault in compiled:
                place.report(fault, declared)
            return None
        for name in sorted(compiled.names - set(declared)):
            without = sorted(k for k in actions if TRAITS[k].scope not in FACTS[name].scopes)
            said = f"{name} is not a fact of {', '.join(without)}, which this rule names as well"
            place.report_at(expanded.text.find(name), said, name)
        if flaws := flaws_of(compiled):
            told = set(literal_flaws(compiled.tree))  # those in a variable are told there
            for flaw in flaws:
                if flaw not in told or not place.in_a_variable(flaw.at):
                    place.report_flaw(flaw)
        return compiled

    def unused(self) -> Iterator[tuple[str, str, str]]:
        """(kind, name, where) of every variable and list that nothing uses."""
        for what, kind, found in (
            ("var", "variable", self._variables),
            ("list", "list", self._lists),
        ):
            for name, (reader, spec) in found.items():
                if (what, name) not in self._used:
                    yield kind, name, f"{reader.file}:{spec.mark.line}"

    def _check_variable(self, name: str, reader: Reader, spec: At) -> None:
        """A variable must make sense by itself, so that its mistakes are told once, at it."""
        expanded = self._expanded(reader, spec)
        if expanded is None or spec.scalar is None:
            self._wrong.add(name)
            return
        compiled = compile_part(expanded.text, MAX_EXPANDED)
        if not isinstance(compiled, Condition):
            self._wrong.add(name)
            for fault in compiled:
                _Place(reader, spec.scalar, expanded).report(fault, FACTS)
            return
        place = _Place(reader, spec.scalar, expanded)
        for flaw in literal_flaws(compiled.tree):
            if not place.in_a_variable(flaw.at):
                place.report_flaw(flaw)

    def _expanded(self, reader: Reader, at: At) -> Expanded | None:
        """The condition written out; None, after a report, where it uses a name that is not known
        or that is wrong itself."""
        sound = True
        for use in uses_in(at.value):
            self._used.add((use.what, use.name))
            known = self._variables if use.what == "var" else self._lists
            if use.name not in known:
                self._report_unknown(reader, at, use, known)
            wrong = use.what == "var" and use.name in self._wrong
            sound = sound and self._meanings.of(use) is not None and not wrong
        return expand(at.value, self._meanings.of) if sound else None

    def _report_unknown(
        self, reader: Reader, at: At, use: Use, known: Mapping[str, tuple[Reader, At]]
    ) -> None:
        if at.scalar is not None:
            place = _Place(reader, at.scalar, expand(at.value, lambda _: None))
            said = f"no {'variable' if use.what == 'var' else 'list'} is called {use.name!r}"
            name = f"{use.what}.{use.name}"
            mark = place.mark_of(use.at)
            reader.unknown(mark, said, name, [f"{use.what}.{k}" for k in known])


class _Place:
    """Where the parts of one condition stand in its file."""

    def __init__(self, reader: Reader, scalar: Scalar, expanded: Expanded) -> None:
        self._reader, self._scalar, self._expanded = reader, scalar, expanded

    def report(self, fault: Fault, declared: Mapping[str, object]) -> None:
        """A fault of the compiler, by line and column of the written-out text."""
        lines = self._expanded.text.split("\n")
        offset = sum(len(line) + 1 for line in lines[: fault.line - 1]) + fault.column - 1
        # What was put in for a name is not what the author wrote: it is no help as a hint.
        written = fault.offending if fault.offending in self._scalar.text else ""
        self.report_at(offset, fault.message, written, [*(fault.among or (*declared, "now"))])

    def report_flaw(self, flaw: Flaw) -> None:
        """A flaw of the whole, by its offset in the written-out text."""
        self.report_at(flaw.at, flaw.message, flaw.offending, list(flaw.among))

    def in_a_variable(self, offset: int) -> bool:
        """Is this offset of the written-out text inside what a `var.NAME` stands for?"""
        use = self._expanded.use_at(offset)
        return use is not None and self._scalar.text.startswith("var.", use)

    def report_at(
        self, offset: int, message: str, offending: str = "", among: list[str] | None = None
    ) -> None:
        """A fault at an offset of the written-out text."""
        self._reader.problem(self.mark_of(offset), message, offending, among or ())

    def mark_of(self, offset: int) -> Mark:
        """Where an offset of the written-out text stands in the file.

        A text on one line, and a `|` block, are found exactly; a text that YAML folded is
        reported where it begins.
        """
        scalar, text = self._scalar, self._expanded.text
        origin = self._expanded.origin_of(max(offset, 0))
        before = scalar.text[:origin] if len(scalar.text) >= origin else text[:origin]
        line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
        mark = scalar.mark
        quote = 1 if scalar.style in ('"', "'") else 0
        if scalar.style == "|":
            mark = Mark(mark.line + 1 + line, scalar.indent + column + 1)
        elif scalar.style != ">" and scalar.last_line == mark.line:
            mark = Mark(mark.line, mark.column + quote + column)
        return mark


def _named(
    documents: Documents, section: str, what: str
) -> Iterator[tuple[str, tuple[Reader, At]]]:
    """The entries of one section over all files; the second of a name is reported."""
    first: dict[str, str] = {}
    for reader, top in documents:
        for name, spec in top.of(section, {}).items():
            if name in first:
                said = f"the {what} {name!r} is defined twice; first at {first[name]}"
                reader.problem(spec.mark, said, name)
                continue
            first[name] = f"{reader.file}:{spec.mark.line}"
            yield name, (reader, spec)
