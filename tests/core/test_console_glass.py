"""Break-glass and its review at the console: who may, what is shown, what is kept."""

from __future__ import annotations

import pytest
from tests.core.console_stage import Read, Stage, csrf, stage

from watchkeeper.core.desk import Person

CARA = Person(name="cara", groups=("oncall", "break-glass"), roles=("viewer", "break-glass"))
DAN = Person(name="dan", groups=("oncall",), roles=("viewer", "operator"))
VIC = Person(name="vic", groups=("tenants",), roles=("viewer",))
AT = "/break-glass/P-5"


@pytest.fixture
def world() -> Stage:
    world = stage()
    world.desk.people_are(CARA, DAN, VIC)
    return world


def lift_form(client: object, **more: str) -> dict[str, str]:
    """What the page would send."""
    fields = Read.of(client.get(AT).text).fields  # type: ignore[attr-defined]
    return {**fields, "reason": "The books can wait, the gang cannot.", **more}


def test_the_page_says_what_would_be_lifted_what_still_holds_and_both_outcomes(
    world: Stage,
) -> None:
    text = Read.of(world.signed_in("cara").get(AT).text).text
    for said in (
        "Cordon, drain and restart train-02?",
        "It is judged again without year-end-freeze",
        "It stays refused. llm-pretrain stays stopped.",
        "1 node, up to 8 GPUs, up to 1 job.",
        "Would be lifted Deny policies/freeze.yaml:9 year-end-freeze",
        "Nothing moves before the books are closed.",
        "Still holds Allow policies/night.yaml:23 night-repairs",
        "Can be lifted until",
        "Why it cannot wait",
    ):
        assert said in text, said
    assert "P-5" in world.signed_in("vic").get("/break-glass").text


def test_one_person_lifts_with_a_reason_and_another_reviews(world: Stage) -> None:
    cara, dan = world.signed_in("cara"), world.signed_in("dan")
    done = cara.post(f"{AT}/lift", data=lift_form(cara))
    assert (done.status_code, done.headers["location"]) == (303, AT)
    told = Read.of(cara.get(AT).text).text
    assert "Lifted; a review is owed" in told
    assert "The books can wait, the gang cannot." in told
    assert "You lifted it, so another person reviews it." in told
    assert "Judged again and allowed; it begins with the next look." in told

    form = {"csrf": csrf(dan), "note": "It was right: the node came back."}
    assert dan.post(f"{AT}/review", data=form).status_code == 303
    told = Read.of(dan.get("/break-glass").text).text
    assert "Reviewed by dan: It was right: the node came back." in told
    assert "Owes a review" not in told


def test_who_lifted_may_not_review_even_with_the_role(world: Stage) -> None:
    cara = world.signed_in("cara")
    cara.post(f"{AT}/lift", data=lift_form(cara))
    answer = cara.post(f"{AT}/review", data={"csrf": csrf(cara), "note": "Fine."})
    assert answer.status_code == 409
    assert "Another person reviews it." in answer.text


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"shown": "0" * 64}, "What you saw is not what stands in the way now."),
        ({"reason": "  "}, "it is read at the review"),
    ],
    ids=["it changed meanwhile", "no reason"],
)
def test_a_lift_that_is_refused_says_why_and_records_nothing(
    world: Stage, more: dict[str, str], why: str
) -> None:
    cara = world.signed_in("cara")
    before = world.desk.events()
    answer = cara.post(f"{AT}/lift", data=lift_form(cara, **more))
    assert answer.status_code == 409
    assert why in Read.of(answer.text).text
    assert world.desk.events() == before


def test_to_lift_a_person_must_have_signed_in_a_moment_ago_and_is_led_back(world: Stage) -> None:
    cara = world.signed_in("cara")
    form = lift_form(cara)
    world.clock.pass_s(16 * 60)
    answer = cara.post(f"{AT}/lift", data=form)
    assert answer.status_code == 403
    page = Read.of(answer.text)
    assert "This lifts a rule, so it needs a login of the last 15 minutes" in page.text
    assert ("a", "href", AT) in page.attributes
    assert world.desk.glass().lifts == ()


def test_stale_readings_lift_nothing(world: Stage) -> None:
    cara = world.signed_in("cara")
    form = lift_form(cara)
    world.desk.make_stale(48.0)
    assert "Lifting is off: the last reading is 48 s old" in cara.get(AT).text
    answer = cara.post(f"{AT}/lift", data=form)
    assert answer.status_code == 409
    assert world.desk.glass().lifts == ()


@pytest.mark.parametrize(("name", "said"), [("dan", "you are none"), ("vic", "you are none")])
def test_who_may_not_lift_reads_why_and_finds_no_form(world: Stage, name: str, said: str) -> None:
    page = Read.of(world.signed_in(name).get(AT).text)
    assert said in page.text
    assert "shown" not in page.fields


def test_what_nothing_soft_refuses_has_no_page(world: Stage) -> None:
    answer = world.signed_in("cara").get("/break-glass/P-7")
    assert answer.status_code == 404
    assert "Nothing soft keeps P-7 from going on now." in Read.of(answer.text).text
