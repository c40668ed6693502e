"""Which nodes are lemons, by their history, and how far the shipped model is to be trusted."""

import msgspec
import numpy as np
import pytest
from tests.core import sick_cluster as c

from watchkeeper.core.errors import Malformed
from watchkeeper.core.fault import Fault
from watchkeeper.core.incident import Incident, IncidentState
from watchkeeper.health.correlate import correlate
from watchkeeper.health.lemons import (
    FEATURES,
    History,
    histories,
    parse_model,
    score,
    shipped,
    vectors,
    with_history,
)


def ill(node: str, fault=Fault.GPU_MEMORY, days_ago: float = 1, **fields) -> Incident:
    known = {
        "id": f"INC-{node}-{days_ago}",
        "target": f"node:{node}",
        "fault": fault,
        "title": "",
        "state": IncidentState.RESOLVED,
        "opened_at": c.ago(days_ago * 86400),
        "updated_at": c.NOW,
        "world": c.snapshot().world,
        "confidence": 0.9,
        "node": node,
    }
    return Incident(**{**known, **fields})


def test_a_node_with_one_fault_is_none_and_one_with_many_repairs_is():
    once = [ill("w1", signals=(c.xid(48, "w1/0"),))]
    often = [
        ill("w2", days_ago=d, signals=(c.xid(48, "w2/0", d),), state=state, jobs=("g",))
        for d, state in ((1, IncidentState.ESCALATED), (3, IncidentState.RESOLVED))
        for _ in range(3)
    ]
    found = {x.node: x for x in score(histories([*once, *often], c.NOW, nodes=["w3"]))}
    assert not found["w1"].is_lemon
    assert not found["w3"].is_lemon
    assert found["w2"].is_lemon
    assert found["w2"].because[0].startswith("outs") or found["w2"].because


def test_what_a_domain_or_a_program_did_is_not_the_nodes():
    theirs = [
        ill("w1", fault=Fault.NODE_LOST, closed_because="It is part of INC-9."),
        ill("w1", fault=Fault.APPLICATION, days_ago=2, jobs=("g",)),
    ]
    (history,) = histories(theirs, c.NOW)
    assert (history.outs, history.repeats, history.multi_node_failures) == (0, 0, 0)


def test_what_is_older_than_the_window_is_forgotten():
    assert histories([ill("w1", days_ago=29)], c.NOW) == ()


def test_gangs_of_one_and_of_many_are_told_apart():
    own = [ill("w1", jobs=("one", "many", "unknown"))]
    (history,) = histories(own, c.NOW, gang_nodes={"one": 1, "many": 64})
    assert (history.single_node_failures, history.multi_node_failures) == (1, 2)


def test_the_vector_is_log_of_one_plus_count_in_the_order_of_features():
    row = vectors([History(node="w1", xids=3, excluded=1)])[0]
    assert row[FEATURES.index("xids")] == pytest.approx(np.log(4))
    assert row[FEATURES.index("excluded")] == pytest.approx(np.log(2))
    assert tuple(History.__struct_fields__[1:]) == FEATURES


def test_more_of_anything_never_lowers_the_score():
    base = History(node="w1", xids=2)
    before = score([base])[0].score
    for name in FEATURES:
        more = msgspec.structs.replace(base, **{name: getattr(base, name) + 5})
        assert score([more])[0].score >= before, name


def test_the_shipped_model_says_where_it_came_from_and_how_good_it_was_there():
    told = shipped().provenance
    assert told["world"] == "twin"
    assert "simulated" in told["status"]
    assert {"trained_on", "held_out", "commit", "precision", "recall", "brier"} <= told.keys()
    assert all(weight >= 0 for weight in shipped().weights)


WRONG = {
    "no JSON": b"{",
    "another order of features": b'{"features": ["xids"]}',
    "a scale of zero": msgspec.json.encode(
        {**msgspec.to_builtins(shipped()), "scale": [0.0] * len(FEATURES)}
    ),
    "a field that we do not know": msgspec.json.encode(
        {**msgspec.to_builtins(shipped()), "code": "import os"}
    ),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_a_model_that_is_not_whole_is_refused(data):
    with pytest.raises(Malformed, match="lemon model"):
        parse_model(data)


def test_no_nodes_no_scores():
    assert score([]) == ()


def test_an_incident_on_a_lemon_says_so_and_gains_no_evidence_by_it():
    past = [
        ill("w2", days_ago=d, id=f"INC-{d}", signals=(c.xid(48, "w2/0", d * 86400),), jobs=("g",))
        for d in range(2, 10)
    ]
    new = ill("w2", days_ago=0, id="INC-99", state=IncidentState.OPEN, signals=(c.xid(48, "w2/0"),))
    (told,) = with_history([new], [*past, new], c.snapshot())
    assert told.lemon >= shipped().threshold
    assert told.hypotheses[-1].claim == "a node that fails again and again"
    assert (told.signals, told.confidence) == (new.signals, new.confidence)
    assert with_history([new], [new], c.snapshot()) == ()
    mended = frozenset({"INC-2"})  # the newest of the past ended with another machine
    assert with_history([new], [*past, new], c.snapshot(), mended) == ()
    program = c.renamed(new, fault=Fault.APPLICATION)
    assert with_history([program], [*past, program], c.snapshot()) == ()


def test_what_is_known_of_its_past_stays_when_more_is_said_of_the_fault():
    (incident,) = correlate((), (c.xid(48),), c.snapshot(), c.Counter())
    lemon = c.renamed(incident, lemon=0.97)
    (after,) = correlate((lemon,), (c.xid(63),), c.snapshot(), c.Counter())
    assert len(after.signals) == 2
    assert after.lemon == 0.97
    assert after.hypotheses[-1].confidence == 0.97
