"""The JSON interface: core words, the same rules as the pages, and a document that is complete."""

from __future__ import annotations

import json
from datetime import timedelta

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.core.console_stage import Stage, answer_form, csrf, stage

from watchkeeper.console import metrics
from watchkeeper.console.words import GPU_STATES, FleetMap, Status, fleet_map
from watchkeeper.core.cells import NODE_STATES
from watchkeeper.core.desk import Ask, Board, GpuView, Health, LogLine, NodeView, Story
from watchkeeper.core.event import Event
from watchkeeper.core.incident import Incident


@pytest.fixture
def world() -> Stage:
    return stage()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("status", Status),
        ("board", Board),
        ("log", list[LogLine]),
        ("incidents", list[Incident]),
        ("incidents/INC-2", Story),
        ("approvals", list[Ask]),
        ("approvals/P-7", Ask),
        ("nodes", list[NodeView]),
        ("nodes/train-02", NodeView),
        ("fleet", FleetMap),
        ("journal", list[Event]),
    ],
)
def test_every_answer_is_a_core_word_in_its_one_json_form(
    world: Stage, path: str, kind: type
) -> None:
    answer = world.signed_in().get(f"/api/v1/{path}")
    assert answer.status_code == 200
    msgspec.json.decode(answer.content, type=kind)


@pytest.mark.parametrize("path", ["incidents/X", "approvals/X", "nodes/X", "explain/X", "nope"])
def test_what_is_not_there_is_404_in_json(world: Stage, path: str) -> None:
    answer = world.signed_in().get(f"/api/v1/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, 404)


def test_log_and_journal_go_on_after_a_sequence_number(world: Stage) -> None:
    client = world.signed_in()
    log = client.get("/api/v1/log", params={"after": 5, "limit": 3}).json()
    assert [line["seq"] for line in log] == [6, 7, 8]
    journal = client.get("/api/v1/journal", params={"after": 10}).json()
    assert [event["seq"] for event in journal] == [11, 12]
    assert client.get("/api/v1/log", params={"after": -1}).status_code == 400


def test_the_fleet_is_one_character_for_each_gpu_and_words_for_who_is_ill(world: Stage) -> None:
    fleet = world.signed_in().get("/api/v1/fleet").json()
    assert fleet["what"] == {"train-02": "GPU 3 fell off the bus (XID 79)"}
    rack = next(r for r in fleet["racks"] if "train-02" in r["n"])
    at = rack["n"].index("train-02")
    assert (rack["s"][at], rack["g"][at]) == ("f", "000f0000")
    assert len(rack["n"]) == len(rack["s"]) == len(rack["g"])
    node = next(n for n in world.desk.board().nodes if n.name == "train-01")
    loads = [min(9, int(gpu.utilization // 10)) for gpu in node.gpus if gpu.utilization is not None]
    assert rack["g"][rack["n"].index("train-01")] == "".join(map(str, loads))


def test_every_state_has_a_letter_of_its_own_and_what_is_not_known_is_never_well() -> None:
    assert len(set(NODE_STATES.values())) == len(NODE_STATES)
    letters = set(GPU_STATES.values())
    assert len(letters) == len(GPU_STATES)
    assert not letters & set("0123456789.")
    node = msgspec.structs.replace(
        stage().desk.board().nodes[0],
        state="new-state",
        gpus=(
            GpuView(index=0, state="new-state", utilization=50.0),
            GpuView(index=1, state="ok"),
            GpuView(index=2, state="ok", utilization=100.0),
        ),
    )
    (rack,) = fleet_map((node,)).racks
    assert (rack.s, rack.g) == ("u", ("q.9",))


def test_ten_thousand_gpus_stay_under_sixty_kilobytes_even_when_all_are_silent() -> None:
    one = stage().desk.board().nodes[0]
    nodes = tuple(
        msgspec.structs.replace(
            one, name=f"gke-h100-pool-{n:04d}", rack=f"rack-{n // 8:03d}", state="silent",
            what=f"No reading for {n} s, last seen by the kernel log and by Ray " * 3,
        )
        for n in range(1250)
    )  # fmt: skip
    assert sum(len(n.gpus) for n in nodes) == 10_000
    assert len(msgspec.json.encode(fleet_map(nodes))) < 60_000


def test_an_answer_by_cookie_needs_the_header_token(world: Stage) -> None:
    client = world.signed_in()
    form = answer_form(client, world.desk)
    token = form.pop("csrf")
    refused = client.post("/api/v1/approvals/P-7/answer", json=form)
    assert refused.status_code == 403
    given = client.post("/api/v1/approvals/P-7/answer", json=form, headers={"x-csrf-token": token})
    ask = msgspec.json.decode(given.content, type=Ask)
    assert (given.status_code, ask.status.state) == (200, "approved")
    assert ask.approvals[0].door == "api"


def test_a_bearer_answers_without_a_token_and_not_from_another_site(world: Stage) -> None:
    client = world.signed_in()
    bearer = {"authorization": f"Bearer {client.cookies['watchkeeper-8080']}"}
    script = world.stranger()
    foreign = script.post(
        "/api/v1/stop", json={}, headers={**bearer, "origin": "https://evil.example"}
    )
    assert foreign.status_code == 403
    done = script.post("/api/v1/stop", json={"reason": "drill"}, headers=bearer)
    assert (done.status_code, done.json()["stopped"]) == (200, True)
    assert script.post("/api/v1/resume", headers=bearer).json()["stopped"] is False
    dial = script.post("/api/v1/autonomy", json={"level": "auto"}, headers=bearer)
    assert dial.json()["autonomy"] == "auto"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"digest": "0" * 64}, 409),
        ({"nonce": "spent"}, 409),
        ({"typed": ""}, 409),
        ({"answer": "always"}, 400),
        ({"surprise": "1"}, 400),
    ],
    ids=["another digest", "another nonce", "name not typed", "no such answer", "unknown field"],
)
def test_the_api_refuses_what_the_page_refuses(
    world: Stage, change: dict[str, str], code: int
) -> None:
    client = world.signed_in()
    form = answer_form(client, world.desk)
    headers = {"x-csrf-token": form.pop("csrf")}
    answer = client.post("/api/v1/approvals/P-7/answer", json={**form, **change}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (code, code)
    assert world.desk.effects == []


def test_the_document_lists_every_route_and_resolves_every_reference(world: Stage) -> None:
    doc = world.stranger().get("/api/v1/openapi.json").json()
    listed = {(path, method) for path, operations in doc["paths"].items() for method in operations}
    reads = ["status", "board", "log", "incidents", "incidents/{incident}", "approvals"]
    reads += ["approvals/{proposal}", "nodes", "nodes/{name}", "fleet", "explain/{ident}"]
    reads += ["journal", "report", "incidents/{incident}/postmortem", "costs", "capacity"]
    reads += ["what-if", "fleet/layout", "fleet/cells", "nodes/{name}/trace"]
    changes = ("approvals/{proposal}/answer", "stop", "resume", "autonomy")
    expected = {(f"/api/v1/{p}", "get") for p in reads}
    expected |= {(f"/api/v1/{p}", "post") for p in changes}
    expected |= {("/healthz", "get"), ("/metrics", "get")}
    assert listed == expected
    text = json.dumps(doc)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(doc["components"]["schemas"])
    for path, operations in doc["paths"].items():
        for operation in operations.values():
            assert operation["responses"]["200"]["description"]
            assert path.startswith(("/healthz", "/metrics")) or operation["security"]
            assert "422" not in operation["responses"]


def test_no_documentation_page_of_foreign_scripts_is_served(world: Stage) -> None:
    client = world.signed_in()
    assert [client.get(p).status_code for p in ("/docs", "/redoc")] == [404, 404]


def test_healthz_says_what_probes_ask(world: Stage) -> None:
    answer = world.stranger().get("/healthz")
    health = msgspec.json.decode(answer.content, type=Health)
    assert answer.status_code == 200
    assert health.ready
    assert (health.cluster, health.nodes, health.gpus) == ("lab", 5, 32)
    assert health.redis
    assert health.policy_version
    world.desk.not_ready("ray: no answer")
    later = world.stranger().get("/healthz")
    assert (later.status_code, later.json()["ready"]) == (200, False)


def test_metrics_parse_and_carry_the_desks_counters(world: Stage) -> None:
    text = world.stranger().get("/metrics").text
    samples = {
        (s.name, *s.labels.values()): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    assert samples["watchkeeper_decisions_total", "allow"] == 3
    assert samples["watchkeeper_approvals_pending",] == 2
    assert samples["watchkeeper_ready",] == 1
    assert all(name.startswith("watchkeeper_") for name, *_ in samples)


@pytest.mark.parametrize(
    ("family", "label"),
    [
        ("decisions", "decision"),
        ("effects", "action"),
        ("outcomes", "outcome"),
        ("answers", "answer"),
        ("incidents", "class"),
        ("notifications", "kind"),
    ],
)
def test_each_family_names_its_own_label(world: Stage, family: str, label: str) -> None:
    world.desk.metrics = lambda: {f"{family}_total": {"a": 1}}  # type: ignore[method-assign]
    text = world.stranger().get("/metrics").text
    assert f'watchkeeper_{family}_total{{{label}="a"}} 1.0' in text


def test_labels_of_metrics_are_bounded(world: Stage) -> None:
    many = {f"kind-{n}": n for n in range(1000)}
    world.desk.metrics = lambda: {"effects_total": many}  # type: ignore[method-assign]
    text = world.stranger().get("/metrics").text
    lines = [li for li in text.splitlines() if li.startswith("watchkeeper_effects_total")]
    assert len(lines) == metrics.MAX_LABELS
    assert sum(float(li.split()[-1]) for li in lines) == sum(many.values())


def test_metrics_from_behind_a_proxy_need_a_session() -> None:
    world = stage("https://watch.example")
    assert world.stranger().get("/metrics").status_code == 401
    assert world.stranger().get("/metrics", headers={"host": "127.0.0.1:443"}).status_code == 200


def test_status_tells_a_cookie_client_its_token(world: Stage) -> None:
    client = world.signed_in()
    status = client.get("/api/v1/status").json()
    assert status["csrf"] == csrf(client)
    assert (status["person"], status["waiting"], status["stale"]) == ("ann", 2, "")


def test_a_thousand_questions_are_read_in_pages(world: Stage) -> None:
    first = world.desk.asks()[0]
    for n in range(1000):
        later = first.asked_at + timedelta(seconds=n + 1)
        world.desk.put(msgspec.structs.replace(first, id=f"P-{1000 + n}", asked_at=later))
    client, read, last = world.signed_in(), [], ""
    while True:
        page = client.get("/api/v1/approvals", params={"after": last, "limit": 300}).json()
        read += [ask["id"] for ask in page]
        last = read[-1]
        if len(page) < 300:
            break
        if len(read) == 600:
            world.desk.void(last)  # answered while somebody reads
    assert len(set(read)) == len(read) == 1002
    assert len(client.get("/api/v1/approvals").json()) == 100
