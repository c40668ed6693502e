"""The results of a policy's tests as JUnit XML, for the pages of a CI."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree as Xml

from watchkeeper.policy.trial.cases import CaseResult, Results

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 text may hold, escaped or not."""


def junit(results: Results) -> str:
    """One `testsuite` for each file, one `testcase` for each test. A file that cannot be read is a
    case in error. Times are 0: a verdict takes microseconds, and here no clock is read."""
    root = _element(
        None,
        "testsuites",
        name="watchkeeper policy test",
        tests=len(results.results) + len(results.problems),
        failures=len(results.failures),
        errors=len(results.problems),
        time=0,
    )
    for file in dict.fromkeys(p.file for p in results.problems):
        problems = [p for p in results.problems if p.file == file]
        suite = _suite(root, file, len(problems), 0, len(problems))
        for problem in problems:
            case = _element(
                suite, "testcase", classname=file, name="load", line=problem.line, time=0
            )
            _element(case, "error", message=str(problem), type="problem").text = _clean(
                str(problem)
            )
    for file in dict.fromkeys(r.case.file for r in results.results):
        own = [r for r in results.results if r.case.file == file]
        suite = _suite(root, file, len(own), sum(not r.passed for r in own), 0)
        _cases(suite, own)
    Xml.indent(root)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"
    )


def _suite(root: Xml.Element, file: str, tests: int, failures: int, errors: int) -> Xml.Element:
    return _element(
        root, "testsuite", name=file, tests=tests, failures=failures, errors=errors, time=0
    )


def _cases(suite: Xml.Element, results: Iterable[CaseResult]) -> None:
    for result in results:
        case = result.case
        element = _element(
            suite,
            "testcase",
            classname=case.file,
            name=case.name,
            file=case.file,
            line=case.line,
            time=0,
        )
        if not result.passed:
            parts = [f"{d.part}: expected {d.expected}, got {d.got}" for d in result.differences]
            failure = _element(element, "failure", message="; ".join(parts), type="verdict")
            failure.text = _clean("\n".join([*parts, *result.why]))


def _element(parent: Xml.Element | None, tag: str, **attributes: object) -> Xml.Element:
    clean = {key: _clean(str(value)) for key, value in attributes.items()}
    return Xml.Element(tag, clean) if parent is None else Xml.SubElement(parent, tag, clean)


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
