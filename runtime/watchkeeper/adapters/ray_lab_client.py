"""The watch's side of the lab: reads where it is, and asks it for restarts and new nodes.

`LabProvider` is the lab's provider of what Ray cannot do. It restarts nothing that lives; ending a
raylet is left to a drain whose deadline has passed.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

from watchkeeper.core.action import NodeDrain, NodeRestart, PoolScale, say
from watchkeeper.core.errors import (
    ClusterUnavailable,
    EffectFailed,
    EffectInDoubt,
    LeaseLost,
    UsageError,
)
from watchkeeper.core.ports import EffectOrder, Receipt


class LabInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What lab.json says of a lab that is ready. `pids` are process ids by role."""

    lab_id: str
    cluster: str
    address: str
    job_api: str
    session: str
    progress_root: str
    sim_root: str
    socket: str
    pids: dict[str, int | None]
    started_at: float


def read_lab(folder: Path) -> LabInfo | None:
    """The lab that is ready in this folder, or None while there is none.

    Raises ClusterUnavailable when its note cannot be read.
    """
    path = folder / "lab.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=LabInfo)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as err:
        raise ClusterUnavailable(f"{path} does not describe a lab: {err}") from err


class LabClient:
    """Asks one lab, over its unix socket. Each request names the lab and its session."""

    def __init__(self, info: LabInfo, timeout_s: float = 30.0) -> None:
        self.info = info
        self._timeout = timeout_s

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        """One request.

        Raises ClusterUnavailable (nobody listens), EffectFailed, EffectInDoubt, LeaseLost.
        """
        request = {
            "op": op,
            "lab_id": self.info.lab_id,
            "session": self.info.session,
            **arguments,
        }
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(self._timeout)
            try:
                line.connect(self.info.socket)
            except OSError as err:
                raise ClusterUnavailable(
                    f"The lab at {self.info.socket} does not answer: {err}."
                ) from err
            try:
                line.sendall(json.dumps(request).encode() + b"\n")
                with line.makefile("rb") as reader:
                    answer: dict[str, Any] = json.loads(reader.readline())
            except (OSError, ValueError) as err:
                raise EffectInDoubt(f"The lab took {op!r} and did not answer: {err}.") from err
        if answer.pop("ok", False):
            return answer
        text = str(answer.get("error", "no reason given"))
        match answer.get("kind"):
            case "lease":
                raise LeaseLost(text)
            case "in_doubt":
                raise EffectInDoubt(text)
            case _:
                raise EffectFailed(text)

    def processes(self) -> Mapping[str, bool]:
        """Node name -> its raylet's process is alive. Raises ClusterUnavailable."""
        try:
            found: dict[str, bool] = self.ask("processes")["processes"]
        except (EffectFailed, EffectInDoubt) as err:
            raise ClusterUnavailable(str(err)) from err
        return found

    def inject(self, fault: str, node: str, gpu: int = 0, code: int = 79) -> str:
        """Break something in the lab: `node-loss`, `xid` or `silence`. Raises UsageError."""
        try:
            return str(self.ask("inject", fault=fault, node=node, gpu=gpu, code=code)["text"])
        except EffectFailed as err:
            raise UsageError(str(err)) from err


class FenceRaiser(Protocol):
    """What a restart needs of `ray_fence.Fences`."""

    def raise_on(self, node: str, token: int, hidden: tuple[int, ...] | None = None) -> int: ...


class LabProvider:
    """An `Actuator` for what only the lab can do.

    fence: raises the fence before a new raylet starts, so that it is checked before it works;
    None starts it open. hidden: GPUs of a node that the new raylet must not see.
    """

    name = "lab"

    def __init__(
        self,
        client: LabClient,
        *,
        fence: FenceRaiser | None,
        hidden: Callable[[str], tuple[int, ...]] = lambda _: (),
    ) -> None:
        self._client = client
        self._fence = fence
        self._hidden = hidden

    @property
    def serves(self) -> frozenset[str]:
        return frozenset({"node.restart", "pool.scale"})

    def execute(self, order: EffectOrder) -> Receipt:
        """Begin one effect. Errors as in `core.ports.Actuator`."""
        self._same_lab(order)
        match order.action:
            case NodeRestart() as action:
                return self._restart(action, order)
            case PoolScale() as action:
                return self._scale(action, order)
            case other:
                raise EffectFailed(f"The lab cannot do this: {say(other)}.")

    def enforce(self, order: EffectOrder) -> Receipt:
        """End by force what a drain left running; the same as `terminate`."""
        return self.terminate(order)

    def terminate(self, order: EffectOrder) -> Receipt:
        """End the raylet of a drained node. Refused for one that takes work."""
        self._same_lab(order)
        action = order.action
        if not isinstance(action, NodeDrain):
            raise EffectFailed(f"Only a drain is finished by force, not: {say(action)}.")
        return self._ask(
            "terminate",
            order,
            key=f"{order.key}/terminate",
            node=action.node,
            incarnation=action.incarnation,
        )

    def _same_lab(self, order: EffectOrder) -> None:
        info = self._client.info
        if order.cluster != info.cluster or order.session != info.session:
            raise EffectFailed(
                f"This order is for {order.cluster} in {order.session}; this lab is "
                f"{info.cluster} in {info.session}. Nothing was done."
            )

    def _restart(self, action: NodeRestart, order: EffectOrder) -> Receipt:
        if self._client.processes().get(action.node) is None:
            raise EffectFailed(f"The lab has no node called {action.node}.")
        hidden = self._hidden(action.node)
        if self._fence is not None:
            self._fence.raise_on(action.node, order.token, hidden)
        return self._ask(
            "restart",
            order,
            key=order.key,
            node=action.node,
            incarnation=action.incarnation,
            hidden_gpus=list(hidden),
        )

    def _scale(self, action: PoolScale, order: EffectOrder) -> Receipt:
        texts = [
            self._ask("add_node", order, key=f"{order.key}/{i}", pool=action.pool).text
            for i in range(action.add)
        ]
        return Receipt(provider=self.name, text=" ".join(texts))

    def _ask(self, op: str, order: EffectOrder, *, key: str, **arguments: Any) -> Receipt:
        try:
            text = self._client.ask(op, key=key, token=order.token, **arguments)["text"]
        except ClusterUnavailable as err:
            raise EffectFailed(f"Nothing was done: {err}") from err
        return Receipt(provider=self.name, text=str(text))
