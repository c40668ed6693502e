"""By day on a real Ray cluster: the chat asks, a person approves in a browser, the watch is killed
in the middle, and the work goes on without repeating anything."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser

from .up import Up

pytestmark = [pytest.mark.ray, pytest.mark.browser, pytest.mark.timeout(300)]
REPAIR = ["node.cordon", "node.drain", "node.restart", "check.run", "node.uncordon"]
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("day") / "home", "--lab-time", "14:00")
    up.until(up.gangs_run, 60, "the gangs never ran")
    yield up
    assert up.stop() == [], "Ctrl-C leaves no orphan"


def test_xid_79_is_asked_in_the_chat(day: Up) -> None:
    node = day.job("llm-pretrain")["nodes"][0]
    day.run("inject", "xid", "--code", "79", "--node", node, "--gpu", "3")
    day.until(lambda: day.board()["waiting"], 60, "it never asked")
    ask = day.board()["waiting"][0]
    assert ask["title"] == f"Drain and restart {node}?"
    assert ask["rule_where"].startswith("policies/day-orders.yaml:")
    assert ask["shown"]["impact"]["jobs"] == ["llm-pretrain"]
    assert day.effects() == ["node.cordon"], "a fence stops nothing that runs"


def test_the_page_is_looked_at_before_the_answer(day: Up, browser: Browser) -> None:
    shots = Path(os.environ.get("WATCHKEEPER_SCREENSHOTS", str(day.home.parent)))
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
    page.goto(day.login_link("secondary"))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector("text=Waits for you")
    assert "Simulated" in page.content()
    page.wait_for_timeout(1500)  # the map draws itself after the page is there
    page.screenshot(path=str(shots / "console.png"))
    page.close()


def test_a_person_approves_on_a_phone_without_javascript(day: Up, browser: Browser) -> None:
    ask = day.board()["waiting"][0]
    context = browser.new_context(viewport=PHONE, java_script_enabled=False)
    page = context.new_page()
    page.goto(day.login_link("primary"))
    page.get_by_role("button", name="Sign in").click()
    page.goto(f"{day.base}/a/{ask['id']}")
    if ask["typed_name"]:
        page.locator("input[name=typed]").fill(ask["typed_name"])
    page.get_by_role("button", name="Approve").click()
    day.until(lambda: "node.drain" in day.effects(), 40, "the drain never began")
    context.close()


def test_s18_killed_in_the_middle_of_a_drain_nothing_is_repeated(day: Up) -> None:
    # Killed between *started* and Ray's word, it would be in doubt, and observed for minutes.
    day.until(lambda: len(day.events("effect.issued")) == 2, 20, "Ray took no drain")
    assert day.results() == ["recovered"], "the drain is under way"
    os.kill(day.watch_pid(), signal.SIGKILL)
    day.until(lambda: "Starting it again" in day.said(), 20, "the supervisor did not notice")
    day.until(
        lambda: (day.home / "run" / "watch.ready").exists() and "job.requeue" in day.effects(),
        120,
        "the work did not go on",
    )
    day.until(lambda: day.results() == ["recovered"] * 6, 60, "the repair did not end")
    assert [e for e in day.effects() if e != "job.requeue"] == REPAIR, "each step once, in order"
    assert day.effects().count("job.requeue") == 1
    assert "hold." in day.run("journal", "verify")
    day.until(lambda: day.job("llm-pretrain")["state"] == "running", 60, "the gang does not run")


def test_s15_fifty_parallel_clicks_have_exactly_one_effect(day: Up) -> None:
    """Another node, asked through HTTP as a browser would post it. The second sick node within
    5 minutes halts the watch first (S9); a person who has looked resumes it."""
    node = day.job("vision-finetune")["nodes"][0]
    before = day.effects().count("node.drain")
    day.run("inject", "xid", "--code", "79", "--node", node, "--gpu", "1")
    day.until(lambda: day.board()["halted"], 30, "two sick nodes did not halt it")
    day.run("resume", "--as", "primary", "--reason", "two faults, both known")
    day.until(lambda: day.board()["waiting"], 60, "it never asked")
    ask = day.board()["waiting"][0]
    client = httpx.Client(base_url=day.base, headers={"Origin": day.base})
    link = day.login_link("primary")
    client.post("/login", data={"token": link.partition("token=")[2]})
    form = client.get(f"/a/{ask['id']}").text
    csrf = form.partition('name="csrf" value="')[2].partition('"')[0]
    data = {
        "answer": "approve",
        "digest": ask["digest"],
        "nonce": ask["nonce"],
        "csrf": csrf,
        "typed": ask["typed_name"],
    }
    codes: list[int] = []

    def click() -> None:
        codes.append(client.post(f"/a/{ask['id']}/answer", data=data).status_code)

    clicks = [threading.Thread(target=click) for _ in range(50)]
    for thread in clicks:
        thread.start()
    for thread in clicks:
        thread.join()
    assert len(codes) == 50
    assert all(code in (200, 303) for code in codes), codes
    day.until(lambda: day.effects().count("node.drain") == before + 1, 40, "no drain")
    answers = [e for e in day.events("approval.answered") if ask["id"] in e["subject"]]
    assert len(answers) == 1
    assert day.effects().count("node.drain") == before + 1
