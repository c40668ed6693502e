"""The site's own hands: an argv template per action, run without a shell.

Asked by the executor where no other provider serves an action. Arguments come from the inventory
and the order only, each one a plain name or number; what the program prints is kept as text for
people and decides nothing.
"""

from __future__ import annotations

import re
import subprocess
import threading
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from watchkeeper.core.action import (
    TRAITS,
    Action,
    NodeDrain,
    PoolScale,
    kind_of,
    node_of,
    targets_of,
)
from watchkeeper.core.errors import EffectFailed, EffectInDoubt, UsageError
from watchkeeper.core.ports import EffectOrder, Receipt

_FIELD = re.compile(r"\{([a-z_]*)\}")
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,252}")
_FIELDS = frozenset({"node", "incarnation", "pool", "add", "gpu", "key", "token"})
_TAIL = 400
TERMINATE = "terminate"
_NODE_FIELDS = frozenset({"node", "incarnation", "key", "token"})


class CommandSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one action is done here.

    argv: program and arguments, with `{node}`, `{incarnation}`, `{pool}`, `{add}`, `{gpu}`,
    `{key}`, `{token}`. timeout_s: after which the effect is in doubt. in_doubt: exit codes that
    mean "it may have happened"; 0 means taken, any other: nothing happened.
    """

    argv: tuple[str, ...]
    timeout_s: float = 60.0
    in_doubt: tuple[int, ...] = ()


class CommandConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """providers.toml: one table per action, such as `[commands."node.restart"]`, and
    `[commands.terminate]`, which ends a raylet whose drain is overdue."""

    commands: dict[str, CommandSpec]


def read_config(path: Path) -> CommandConfig:
    """Read and check providers.toml. Raises UsageError, saying what is wrong and where."""
    try:
        config = msgspec.convert(tomllib.loads(path.read_text()), CommandConfig)
    except OSError as err:
        raise UsageError(f"{path} cannot be read: {err.strerror}.") from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as err:
        raise UsageError(f"{path} is not a valid providers file: {err}.") from err
    for kind, spec in config.commands.items():
        wrong = _fault(kind, spec)
        if wrong:
            raise UsageError(f'{path}: commands."{kind}": {wrong}')
    return config


def _fault(kind: str, spec: CommandSpec) -> str:
    if kind != TERMINATE and (kind not in TRAITS or not TRAITS[kind].changes):
        served = ", ".join(k for k, t in TRAITS.items() if t.changes)
        return f"no such action. Use one of {served}, or terminate."
    if not spec.argv or not spec.argv[0].startswith("/"):
        return "argv must begin with the program's absolute path."
    if "{" in spec.argv[0]:
        return "the program itself must not be a template."
    if not 0 < spec.timeout_s <= 3600:
        return "timeout_s must be between 0 and 3600."
    scope = "node" if kind == TERMINATE else TRAITS[kind].scope
    allowed = {
        "node": _NODE_FIELDS,
        "gpu": _NODE_FIELDS | {"gpu"},
        "pool": frozenset({"pool", "add", "key", "token"}),
    }.get(scope, frozenset({"key", "token"}))
    for word in spec.argv:
        for name in _FIELD.findall(word):
            if name not in allowed:
                known = ", ".join(f"{{{f}}}" for f in sorted(allowed))
                return f"{{{name}}} is not known for this action. It has {known}."
        if re.search(r"[{}]", _FIELD.sub("", word)):
            return f"{word!r} has an unmatched brace."
    return ""


class Ran(msgspec.Struct, frozen=True):
    """How a program ended: `code` is None when it was ended by the timeout."""

    code: int | None
    output: str


Runner = Callable[[Sequence[str], float], Ran]


def run_program(argv: Sequence[str], timeout_s: float) -> Ran:
    """Run one program, without a shell, with an empty stdin and a small environment, in a process
    group of its own that the timeout ends. Raises OSError when it cannot be started."""
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        import os
        import signal

        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return Ran(None, _tail(output))
    return Ran(process.returncode, _tail(output))


def _tail(output: bytes) -> str:
    return output.decode(errors="replace").strip()[-_TAIL:]


class Memory(Protocol):
    """Runs an effect at most once per key and refuses lower tokens, as `effect_file.Effects`."""

    def once(self, key: str, target: str, token: int, act: Callable[[], str]) -> str: ...


class FenceRaiser(Protocol):
    """What a restart needs of `ray_fence.Fences`."""

    def raise_on(self, node: str, token: int) -> int: ...


class CommandProvider:
    """An `Actuator` for whatever its config names.

    cluster: our id for it; orders for another are refused. session: asks Ray for the session now.
    memory: what was done before, kept in a file. fence: raised before a restart; None restarts
    open. runner: runs a program.
    """

    name = "command"

    def __init__(
        self,
        config: CommandConfig,
        runner: Runner = run_program,
        *,
        cluster: str,
        session: Callable[[], str],
        memory: Memory,
        fence: FenceRaiser | None = None,
    ) -> None:
        self._config = config
        self._run = runner
        self._cluster = cluster
        self._session = session
        self._memory = memory
        self._fence = fence
        self._lock = threading.Lock()

    @property
    def serves(self) -> frozenset[str]:
        """The actions that the config names."""
        return frozenset(self._config.commands) - {TERMINATE}

    @property
    def terminates(self) -> bool:
        """The config says how a raylet is ended by force."""
        return TERMINATE in self._config.commands

    def execute(self, order: EffectOrder) -> Receipt:
        """Run the action's program. Errors as in `core.ports.Actuator`."""
        kind = kind_of(order.action)
        if kind == "node.restart" and self._fence is not None:
            self._check(order)
            self._fence.raise_on(node_of(order.action), order.token)
        return self._do(kind, order, order.key)

    def enforce(self, order: EffectOrder) -> Receipt:
        """Finish a drain by force; the same as `terminate`."""
        return self.terminate(order)

    def terminate(self, order: EffectOrder) -> Receipt:
        """End the raylet of a drained node through the site's own program."""
        if not isinstance(order.action, NodeDrain):
            raise EffectFailed("Only a drain is finished by force.")
        return self._do(TERMINATE, order, f"{order.key}/terminate")

    def _check(self, order: EffectOrder) -> None:
        if order.cluster != self._cluster:
            raise EffectFailed(
                f"This order is for cluster {order.cluster!r}; this provider serves "
                f"{self._cluster!r}."
            )
        session = self._session()
        if order.session != session:
            raise EffectFailed(f"The session is {session!r} now, not {order.session!r}.")

    def _do(self, kind: str, order: EffectOrder, key: str) -> Receipt:
        spec = self._config.commands.get(kind)
        if spec is None:
            raise EffectFailed(f"providers.toml has no command for {kind}.")
        self._check(order)
        argv = fill(spec.argv, order)
        text = self._memory.once(
            key, targets_of(order.action)[0], order.token, lambda: self._effect(spec, argv)
        )
        return Receipt(provider=self.name, text=text)

    def _effect(self, spec: CommandSpec, argv: Sequence[str]) -> str:
        program = argv[0]
        try:
            ran = self._run(argv, spec.timeout_s)
        except OSError as err:
            raise EffectFailed(f"{program} cannot be started: {err.strerror}.") from err
        said = f" It said: {ran.output}" if ran.output else ""
        if ran.code is None:
            raise EffectInDoubt(f"{program} did not end in {spec.timeout_s:g} s.{said}")
        if ran.code in spec.in_doubt:
            raise EffectInDoubt(f"{program} ended with {ran.code}: it may have happened.{said}")
        if ran.code != 0:
            raise EffectFailed(f"{program} ended with {ran.code}.{said}")
        return f"{program} took it.{said}"


def fill(argv: Sequence[str], order: EffectOrder) -> tuple[str, ...]:
    """The argv of one order. Raises EffectFailed when a value is not one plain word: a name never
    becomes an option, a path elsewhere or a second argument."""
    values = _values(order.action) | {"key": order.key, "token": str(order.token)}

    def value(match: re.Match[str]) -> str:
        text = values.get(match[1], "")
        if not _VALUE.fullmatch(text) or ".." in text:
            raise EffectFailed(f"{match[1]} is {text!r}, which is not a plain name.")
        return text

    return tuple(_FIELD.sub(value, word) for word in argv)


def _values(action: Action) -> dict[str, str]:
    values = {name: str(getattr(action, name)) for name in _FIELDS if hasattr(action, name)}
    if isinstance(action, PoolScale):
        values["add"] = str(action.add)
    return values


__all__ = [
    "CommandConfig",
    "CommandProvider",
    "CommandSpec",
    "Ran",
    "fill",
    "read_config",
    "run_program",
]
