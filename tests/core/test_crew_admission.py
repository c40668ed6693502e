"""A gang on its way from the line to its seats is in neither for some seconds: its tenant's bound
holds all the same."""

from __future__ import annotations

from dataclasses import replace as with_fields

import msgspec
import pytest
from tests.core import crew_stage as c

from watchkeeper.core.cluster import Job, JobState
from watchkeeper.core.money import QuotaOrder
from watchkeeper_agents.admission import uncounted

replace = msgspec.structs.replace
NEXT = replace(c.job(), name="bert-2", tenant="nlp", held=True, state=JobState.WAITING)
BEFORE = replace(NEXT, name="bert-1")
SUBMITTED = replace(BEFORE, held=False)
BOUND = QuotaOrder(tenant="nlp", gpus=8, gpus_at_most=8)

SEEN = {
    "not seen at all, just handed to Ray": ((), True),
    "submitted, without its seats": ((SUBMITTED,), True),
    "of another tenant": ((replace(SUBMITTED, tenant="vision"),), False),
    "still in the line, which counts it": ((BEFORE,), False),
    "runs, and is counted": ((replace(SUBMITTED, state=JobState.RUNNING),), False),
}


@pytest.mark.parametrize(("jobs", "waits"), SEEN.values(), ids=SEEN)
def test_the_next_gang_of_a_bounded_tenant_waits_for_what_is_on_its_way(
    jobs: tuple[Job, ...], waits: bool
) -> None:
    seen = c.snapshot(c.node("train-01"), jobs=(*jobs, NEXT))
    briefing = with_fields(c.briefing(seen, busy=("gang:bert-1", "gang:bert-2")), quotas=(BOUND,))
    assert bool(uncounted(NEXT, briefing)) is waits
    free = with_fields(briefing, quotas=(replace(BOUND, gpus_at_most=None),))
    assert uncounted(NEXT, free) == ""
