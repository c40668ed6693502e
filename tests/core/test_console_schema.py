"""The HTTP interface against its own description, as each role: schemathesis makes the requests.

WATCHKEEPER_NIGHTLY makes many more of them.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.browser.fake_desk import FakeDesk
from tests.core.console_people import PARTS, PEOPLE
from tests.core.console_stage import HOST, URL, Stage

from watchkeeper.console.app import create_app
from watchkeeper.console.rates import Limits, Rate
from watchkeeper.core.desk import Person
from watchkeeper.core.roles import Role
from watchkeeper.twin.memory import CountingIds, ManualClock

NIGHTLY = bool(os.environ.get("WATCHKEEPER_NIGHTLY"))
EVERYTHING = Person(name="all", groups=("oncall",), roles=tuple(r.value for r in Role))
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def world() -> Stage:
    clock, ids = ManualClock(), CountingIds()
    desk = FakeDesk(clock, ids)
    desk.people_are(EVERYTHING, *PEOPLE.values())
    free = Rate(1e9, 1e9)
    app = create_app(desk, clock, ids, public_url=URL, limits=Limits(free, free, free))
    return Stage(desk=desk, clock=clock, app=app)


@pytest.fixture(scope="module")
def operations(world: Stage) -> list[Any]:
    schema = schemathesis.openapi.from_asgi(
        "/api/v1/openapi.json", world.app, headers={"host": HOST}
    )
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.parametrize("role", ["all", *Role])
def test_every_answer_is_as_described_and_none_is_a_crash(
    world: Stage, operations: list[Any], role: str
) -> None:
    name = EVERYTHING.name if role == "all" else PEOPLE[role].name
    secret = world.signed_in(name).cookies["watchkeeper-8080"]
    headers = {"host": HOST, "authorization": f"Bearer {secret}"}
    examples = (60 if NIGHTLY else 4) if role == "all" else (12 if NIGHTLY else 1)
    answered: set[int] = set()
    for operation in operations:
        _try(operation, headers, examples, answered, always_known=role != "all")
    assert 200 in answered
    assert answered <= {200, 400, 403, 404, 409}


def _try(
    operation: Any, headers: dict[str, str], examples: int, answered: set[int], always_known: bool
) -> None:
    """So many requests of one operation; half of them, or all, for what there is."""
    rolled = random.Random(operation.label)

    @seed(rolled.randrange(2**32))
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: schemathesis.Case) -> None:
        if always_known or rolled.random() < 0.5:
            known = {k: PARTS[k] for k in case.path_parameters or {} if k in PARTS}
            case.path_parameters = {**(case.path_parameters or {}), **known}
        answer = case.call(headers=headers)
        answered.add(answer.status_code)
        case.validate_response(answer, checks=list(CHECKS))

    ask()


def test_every_operation_says_what_it_refuses(operations: list[Any]) -> None:
    for operation in operations:
        codes = set(operation.definition.raw["responses"])
        label = operation.label
        if "/api/" in label:
            assert codes >= {"200", "400", "401", "403", "429"}, label
