"""What was already done in this GCS session, kept in the cluster itself.

Asked before each effect. The marks live in the GCS key-value store, so a watch that was killed
finds them again, a second executor sees the same ones, and they end with the session they belong
to. Nothing here acts on nodes or jobs.
"""

from __future__ import annotations

from collections.abc import Callable

from watchkeeper.adapters.ray_gcs import MARKS, Gcs
from watchkeeper.core.action import targets_of
from watchkeeper.core.errors import (
    ClusterUnavailable,
    EffectFailed,
    EffectInDoubt,
    LeaseLost,
)
from watchkeeper.core.ports import EffectOrder, Receipt

_BEGUN = b"begun"
_DONE = b"done:"
_FAILED = b"failed:"


def check_order(order: EffectOrder, gcs: Gcs, cluster: str) -> None:
    """Refuse an order that was decided about another cluster or another session (S29)."""
    if order.cluster != cluster:
        raise EffectFailed(
            f"This order is for cluster {order.cluster!r}; this actuator serves {cluster!r}."
        )
    session = gcs.session()
    if order.session != session:
        raise EffectFailed(
            f"The GCS session is {session!r} now; the order was decided in {order.session!r}. "
            "Nothing was done."
        )


def check_token(order: EffectOrder, gcs: Gcs) -> None:
    """Refuse a fencing token lower than one already seen for the target (S6)."""
    for target in targets_of(order.action):
        key = b"token/" + target.encode()
        seen = int(gcs.kv_get(MARKS, key) or b"0")
        if order.token < seen:
            raise LeaseLost(
                f"{target} was already touched under fencing token {seen}; this order carries "
                f"{order.token}, so another executor holds the lease."
            )
        if order.token > seen:
            gcs.kv_put(MARKS, key, str(order.token).encode())


def once(
    order: EffectOrder,
    gcs: Gcs,
    cluster: str,
    provider: str,
    act: Callable[[], str],
    *,
    step: str = "",
) -> Receipt:
    """Run one effect at most once for its key, whatever happens to whoever runs it.

    `act` returns the receipt's text. `step` tells the parts of one order apart (`enforce`).
    Raises EffectFailed, EffectInDoubt (also when an earlier try under this key never told how it
    ended), LeaseLost.
    """
    try:
        check_order(order, gcs, cluster)
        check_token(order, gcs)
        key = f"effect/{order.key}{'/' + step if step else ''}".encode()
        if not gcs.kv_put(MARKS, key, _BEGUN, overwrite=False):
            return _earlier(gcs.kv_get(MARKS, key) or _BEGUN, provider, order.key)
    except ClusterUnavailable as err:
        raise EffectFailed(f"Nothing was done: {err}") from err
    try:
        text = act()
    except (EffectFailed, LeaseLost) as err:
        _note(gcs, key, _FAILED + str(err).encode())
        raise
    except ClusterUnavailable as err:
        raise EffectInDoubt(f"Ray went away in the middle of it: {err}") from err
    _note(gcs, key, _DONE + text.encode())
    return Receipt(provider=provider, text=text)


def _earlier(mark: bytes, provider: str, key: str) -> Receipt:
    if mark.startswith(_DONE):
        text = mark.removeprefix(_DONE).decode()
        return Receipt(provider=provider, text=f"{text} (already done under this key)")
    if mark.startswith(_FAILED):
        raise EffectFailed(mark.removeprefix(_FAILED).decode())
    raise EffectInDoubt(
        f"An effect under key {key} was begun before and never told how it ended. Observe; "
        "it is not repeated."
    )


def _note(gcs: Gcs, key: bytes, mark: bytes) -> None:
    try:
        gcs.kv_put(MARKS, key, mark)
    except ClusterUnavailable:
        # The mark stays at "begun": a repeat will then observe instead of acting. That is right.
        return
