"""What passes between the crew and a language model, and what is written down of each call.

Words and one port. Who thinks sees only this; the client, its address and its key live behind the
port. Nothing a model says is an Action, an argument, or evidence.
"""

from __future__ import annotations

from typing import Any, Protocol

from watchkeeper.core.errors import WatchkeeperError
from watchkeeper.core.word import Word


class ToolSpec(Word, frozen=True):
    """One tool that a model may call. args: JSON Schema of its arguments."""

    name: str
    says: str
    args: dict[str, Any]


class ToolCall(Word, frozen=True):
    """A model asks for one tool. args are as it wrote them: nobody has checked them."""

    id: str
    name: str
    args: dict[str, Any]


class Said(Word, frozen=True):
    """One turn of a conversation. role: `system`, `user`, `assistant` or `tool`. calls: what an
    assistant asked for. call: which call a tool answers."""

    role: str
    text: str
    calls: tuple[ToolCall, ...] = ()
    call: str = ""


class ModelAsk(Word, frozen=True):
    """One call of a model. answer: JSON Schema that its last word must fit. last: no tool may be
    called any more."""

    said: tuple[Said, ...]
    answer: dict[str, Any]
    tools: tuple[ToolSpec, ...] = ()
    most_tokens: int = 512
    last: bool = False


class ModelReply(Word, frozen=True):
    """What came back, unchecked. text: "" when it only calls tools. Tokens as the server counts
    them; estimated (four characters each) where it does not, and `counted` is False then."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    took_s: float = 0.0
    tries: int = 1
    counted: bool = True


class ModelFailed(WatchkeeperError):
    """No usable answer came. what: `timeout`, `unreachable`, `refused` (the server said no), `too
    long` or `garbled`. spent_s: how long it took to fail."""

    def __init__(self, what: str, says: str, spent_s: float = 0.0, tries: int = 1) -> None:
        self.what, self.spent_s, self.tries = what, spent_s, tries
        super().__init__(says)


class ModelClient(Protocol):
    """One model behind one address."""

    @property
    def name(self) -> str:
        """As the record shows it, such as `small (openai qwen2.5-7b)`. Never an address or key."""
        ...

    def call(self, ask: ModelAsk) -> ModelReply:
        """One question, one answer, within the client's own time limit. Raises ModelFailed."""
        ...

    def price(self, tokens_in: int, tokens_out: int) -> float:
        """What so many tokens cost, in the currency of the settings."""
        ...


class ModelCall(Word, frozen=True):
    """One call, for the record.

    agent: who asked. model: the client's name. about: the incident or thread. prompt: id and
    version of the prompt file. asked: SHA-256 of all that was sent. answer: what came back, cut
    and without secrets; answer_hash: SHA-256 of all of it. ended: `answered`, `tools` (it called
    some), `timeout`, `unreachable`, `refused`, `too long`, `garbled`, `malformed`, `not open`,
    `late`. option: what it chose. steady: seconds on the watch's clock when it was asked.
    """

    agent: str
    model: str
    about: str
    prompt: str
    asked: str
    ended: str
    steady: float
    fault: str = ""
    kind: str = ""
    answer: str = ""
    answer_hash: str = ""
    why: str = ""
    option: str = ""
    confidence: float | None = None
    tools: tuple[str, ...] = ()
    tokens_in: int = 0
    tokens_out: int = 0
    took_s: float = 0.0
    cost: float = 0.0


class Chosen(Word, frozen=True):
    """That a model chose a step, and not the rules: travels with the Draft and its Proposal.

    label: the lowest trust among what it was told. prompt: id and version. confidence: its own, 0
    to 1, that the step will do what it shall. agent: whose model; "" for the agent that asks. why:
    its advice, for people to read and for nothing else; no figure in it but those of an engine.
    ordered: the planner's model let this step go before another as well.
    """

    model: str
    prompt: str
    confidence: float
    label: str
    agent: str = ""
    why: str = ""
    ordered: Chosen | None = None

    @property
    def each(self) -> tuple[Chosen, ...]:
        """This choice, and the one about its turn, where a model made one."""
        return (self,) if self.ordered is None else (self, self.ordered)


class Scored(Word, frozen=True):
    """A model's word held against what telemetry then showed. happened: its step recovered; of a
    step it held back: that holding it back was right (the fault went by itself, or a person
    agreed). took_s: what the answers for it took. cost: likewise."""

    agent: str
    model: str
    fault: str
    kind: str
    confidence: float
    happened: bool
    steady: float
    took_s: float = 0.0
    cost: float = 0.0
