"""The page of costs: what is known with its figure, what is unknown as unknown, and no script."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from tests.browser.lab_money import records
from tests.core.console_stage import Stage, stage

from watchkeeper.capacity.bill import bill, columns
from watchkeeper.console.money import bar, burn_chart, of_uses, pool_bars, tenants
from watchkeeper.core.usage import STRANDED, Burn


@pytest.fixture
def house() -> Stage:
    return stage()


def shown(page: str) -> str:
    """The text of a page, without its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_the_page_says_who_held_what_and_what_it_cost(house: Stage) -> None:
    page = house.signed_in().get("/costs").text
    text = shown(page)
    whole = house.desk.costs_are.bill
    assert f"All of it {whole.money:,.2f} USD" in text
    assert "vision" in text
    assert "(names none)" in text
    assert "GPU data simulated" in text
    assert "Prices: made-up" in text
    for burn in house.desk.costs_are.burns:
        assert burn.id in text
    assert page.count('class="demand"') == 3


def test_without_prices_every_cost_is_unknown_and_hours_stand(house: Stage) -> None:
    at = house.clock.now()
    found = house.desk.costs_are
    bare = bill(columns(records(at)), None, found.bill.first, found.bill.last)
    house.desk.costs_are = msgspec.structs.replace(found, bill=bare, prices="", burns=())
    text = shown(house.signed_in().get("/costs").text)
    assert "All of it unknown" in text
    assert "no price book, so every cost is unknown" in text
    assert "0.00 USD" not in text
    assert "The orders name no allowance" in text


def test_a_what_if_is_a_form_whose_answer_stands_on_the_page(house: Stage) -> None:
    client = house.signed_in()
    page = client.get("/costs", params={"pool": "train", "add": 2, "begin": "22:00"})
    text = shown(page.text)
    assert "2 nodes more in train for 8 h" in text
    assert "Price: on-demand" in text
    assert 'value="22:00"' in page.text
    refused = shown(client.get("/costs", params={"pool": "moon", "add": 2}).text)
    assert "There is no forecast for moon yet." in refused


def test_a_plan_is_shown_where_it_is_asked_for(house: Stage) -> None:
    client = house.signed_in()
    assert "Which capacity for train" in shown(client.get("/costs").text)
    assert "Burst, if needed" in shown(client.get("/costs", params={"plan": "train"}).text)
    refused = client.get("/costs", params={"plan": "moon"})
    assert "There is no forecast for moon yet." in shown(refused.text)


@pytest.mark.parametrize(
    "query", [{"begin": "half past"}, {"add": 4000}, {"days": 0}, {"days": 4000}]
)
def test_what_is_no_question_is_refused(house: Stage, query: dict[str, str | int]) -> None:
    answer = house.signed_in().get("/costs", params={"pool": "train", "add": 1, **query})
    assert 400 <= answer.status_code < 500


def test_strangers_see_nothing_of_it(house: Stage) -> None:
    for path in ("/costs", "/api/v1/costs", "/api/v1/capacity?pool=train"):
        assert house.stranger().get(path).status_code == 401


def test_names_from_the_cluster_are_text(house: Stage) -> None:
    evil = '<script>alert("x")</script>'
    found = house.desk.costs_are
    lines = tuple(
        msgspec.structs.replace(line, pool=evil, tenant=evil) for line in found.bill.lines
    )
    house.desk.costs_are = msgspec.structs.replace(
        found, bill=msgspec.structs.replace(found.bill, lines=lines)
    )
    page = house.signed_in().get("/costs").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_the_api_gives_the_same_words(house: Stage) -> None:
    client = house.signed_in()
    told = client.get("/api/v1/costs").json()
    assert told == json.loads(msgspec.json.encode(house.desk.costs_are))
    answer = client.get("/api/v1/what-if", params={"pool": "train", "add": 2}).json()
    assert answer["add"] == 2
    assert client.get("/api/v1/capacity", params={"pool": "train"}).json()["pool"] == "train"


def test_shares_are_of_all_gpu_hours_and_most_come_first(house: Stage) -> None:
    found = tenants(house.desk.costs_are.bill)
    assert [share.tenant for share in found] == ["vision", "language", ""]
    held = sum(line.gpu_hours for line in house.desk.costs_are.bill.lines if line.use == "held")
    whole = sum(line.gpu_hours for line in house.desk.costs_are.bill.lines)
    assert sum(share.part for share in found) == pytest.approx(held / whole)
    assert of_uses(house.desk.costs_are.bill, STRANDED).gpu_hours > 0


def test_drawings_hold_no_style_and_no_figure_that_is_none(house: Stage) -> None:
    found = house.desk.costs_are
    drawn = [bar(0.5), bar(7.0), *(b for _, b, _, _ in pool_bars(found.bill))]
    drawn += [burn_chart(burn) for burn in found.burns]
    for one in drawn:
        assert "style=" not in one
        assert "nan" not in one.lower()
    unknown = msgspec.structs.replace(found.burns[0], used=None)
    assert isinstance(unknown, Burn)
    assert burn_chart(unknown) == ""
