"""The one door to language models: any chat model that LangChain knows, behind the port
`core.model.ModelClient`.

Address and key live here and nowhere else. An answer is bounded in time and size before it is read.
LangChain is imported with the first call: it takes seconds, and most watches ask no model.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDone
from typing import Any

import msgspec

from watchkeeper.adapters.model_bounds import Late, TooLong, bounded_client
from watchkeeper.core.errors import UsageError
from watchkeeper.core.model import ModelAsk, ModelFailed, ModelReply, Said, ToolCall
from watchkeeper.core.redact import GONE, redact

RETRY_S = 0.5
"""Before the second try; doubled before each further one."""
CHARS_A_TOKEN = 4
_RETRIED = frozenset({"timeout", "unreachable"})
_PACKAGES = {"openai": "langchain-openai", "anthropic": "langchain-anthropic"}


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where one model is and what it costs.

    provider: `openai` for any endpoint that speaks its protocol (vLLM, Ollama, llama.cpp), with
    `url`; `anthropic`; or another that LangChain's init_chat_model knows. key_env or key_file:
    where the key is; never the key itself. proxy: an HTTP proxy's URL, for `openai`; those of the
    environment are not used. answer: `json_schema` where the server keeps to a schema in OpenAI's
    form, `json_object` in llama.cpp's, `tool` where the answer is a call of a tool, `text` where
    it is only asked for in words. million_in and million_out: price of a million tokens.
    timeout_s: of one try, whole.
    """

    provider: str
    model: str
    url: str = ""
    key_env: str = ""
    key_file: str = ""
    proxy: str = ""
    answer: str = ""
    timeout_s: float = 20.0
    retries: int = 1
    temperature: float | None = 0.0
    million_in: float = 0.0
    million_out: float = 0.0

    @property
    def answers_as(self) -> str:
        """How its last word is bound, where the settings do not say."""
        return self.answer or ("json_schema" if self.provider == "openai" else "tool")


class LangChainModel:
    """Meets `core.model.ModelClient`. alias: its name in the settings. key: its credential."""

    def __init__(
        self,
        alias: str,
        spec: ModelSpec,
        key: str = "",
        *,
        pause: Callable[[float], None] = time.sleep,
        make: Callable[[ModelSpec, str], Any] | None = None,
    ) -> None:
        self._spec, self._key, self._pause = spec, key, pause
        self._make = make or chat_model
        self._chat: Any = None
        self.name = f"{alias} ({spec.provider} {spec.model})"

    def price(self, tokens_in: int, tokens_out: int) -> float:
        """See the port."""
        return (tokens_in * self._spec.million_in + tokens_out * self._spec.million_out) / 1e6

    def call(self, ask: ModelAsk) -> ModelReply:
        """See the port. Tries again only what did not reach the server or got no answer in time."""
        began = time.monotonic()
        for number in range(1, self._spec.retries + 2):
            try:
                reply = self._once(ask)
            except ModelFailed as err:
                if err.what not in _RETRIED or number > self._spec.retries:
                    raise ModelFailed(err.what, str(err), time.monotonic() - began, number) from err
                self._pause(RETRY_S * 2.0 ** (number - 1))
            else:
                took = time.monotonic() - began
                return msgspec.structs.replace(reply, took_s=took, tries=number)
        raise AssertionError("unreachable")

    def _once(self, ask: ModelAsk) -> ModelReply:
        if self._chat is None:
            self._chat = self._make(self._spec, self._key)
        try:
            answer = self._invoke(_bound(self._chat, self._spec, ask), ask)
        except TooLong as err:
            raise ModelFailed("too long", str(err)) from err
        except Exception as err:  # each provider has its own; what it was is told in our words
            cut = _cut_off(err, self._key)
            if cut is not None:
                return cut
            raise _failed(err, self._key) from err
        return _reply(answer, ask, self._key)

    def _invoke(self, bound: Any, ask: ModelAsk) -> Any:
        """One request. Of a provider whose client cannot be bounded on the wire, no longer than its
        time either: what it still sends then is heard by nobody."""
        if self._spec.provider in _PACKAGES:
            return bound.invoke(_messages(ask, self._spec))
        pool = ThreadPoolExecutor(1, thread_name_prefix="model-call")
        try:
            waits = pool.submit(bound.invoke, _messages(ask, self._spec))
            return waits.result(self._spec.timeout_s)
        except NotDone as err:
            raise Late(f"no whole answer within {self._spec.timeout_s:g} s") from err
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def chat_model(spec: ModelSpec, key: str) -> Any:
    """The LangChain model of a spec. Raises UsageError when its package is not installed."""
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as err:
        raise UsageError(
            "A model is configured, but LangChain is not installed. Install it with "
            "`pip install 'watchkeeper[model]'`, or leave out --models."
        ) from err
    words: dict[str, Any] = {"timeout": spec.timeout_s, "max_retries": 0}
    if spec.temperature is not None:
        words["temperature"] = spec.temperature
    if spec.url:
        words["base_url"] = spec.url
    if key or spec.provider == "openai":
        words["api_key"] = (
            key or "none"
        )  # a server of one's own mostly wants no key, the client does
    if spec.provider == "openai":
        words["http_client"] = bounded_client(
            spec.timeout_s, spec.proxy, "langchain_openai._compat"
        )
        words["use_responses_api"] = False
    try:
        chat = init_chat_model(spec.model, model_provider=spec.provider, **words)
        return _bound_in_time(chat, spec)
    except ImportError as err:
        package = _PACKAGES.get(spec.provider, f"langchain-{spec.provider}")
        raise UsageError(
            f"The model's provider {spec.provider!r} needs the package {package}."
        ) from err
    except ValueError as err:
        raise UsageError(
            f"The model's provider {spec.provider!r}: {redact(str(err), (key,))}"
        ) from err


def _bound_in_time(chat: Any, spec: ModelSpec) -> Any:
    """Anthropic's library takes no HTTP client of ours as a setting; its model keeps one under this
    name, and a test holds that the bounds are met."""
    if spec.provider == "anthropic":
        import anthropic

        own = dict(chat._client_params)
        chat.__dict__["_client"] = anthropic.Client(
            **own,
            http_client=bounded_client(spec.timeout_s, spec.proxy, "langchain_anthropic._compat"),
        )
    return chat


_ANSWER_TOOL = "answer"


def _bound(chat: Any, spec: ModelSpec, ask: ModelAsk) -> Any:
    """The model with its tools, its limit of tokens, and the shape of its last word."""
    words = _limit(spec, ask.most_tokens)
    tools = [] if ask.last else [_tool(t.name, t.says, t.args) for t in ask.tools]
    if spec.answers_as == "tool":
        tools.append(_tool(_ANSWER_TOOL, "Gives the answer. Call it once, at the end.", ask.answer))
        choice = _ANSWER_TOOL if len(tools) == 1 else "any"
        return chat.bind_tools(tools, tool_choice=choice, **words)
    if spec.answers_as == "json_schema" and not tools:
        shape = {"name": _ANSWER_TOOL, "schema": ask.answer, "strict": True}
        words["response_format"] = {"type": "json_schema", "json_schema": shape}
    if spec.answers_as == "json_object" and not tools:
        words["response_format"] = {"type": "json_object", "schema": ask.answer}
    return chat.bind_tools(tools, **words) if tools else chat.bind(**words)


def _limit(spec: ModelSpec, tokens: int) -> dict[str, Any]:
    """The limit of tokens, as the provider's LangChain model is told it."""
    match spec.provider:
        case "ollama":
            own = {} if spec.temperature is None else {"temperature": spec.temperature}
            return {"options": {"num_predict": tokens, **own}}
        case "google_genai" | "google_vertexai":
            return {"max_output_tokens": tokens}
        case _:
            return {"max_tokens": tokens}


def _tool(name: str, says: str, args: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": says, "parameters": args}}


def _messages(ask: ModelAsk, spec: ModelSpec) -> list[Any]:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

    def one(said: Said) -> Any:
        match said.role:
            case "system":
                schema = json.dumps(ask.answer, sort_keys=True)
                more = f"\n\nThe answer's JSON Schema:\n{schema}" if spec.answer == "text" else ""
                return SystemMessage(said.text + more)
            case "assistant":
                calls = [{"name": c.name, "args": c.args, "id": c.id} for c in said.calls]
                return AIMessage(content=said.text, tool_calls=calls)
            case "tool":
                return ToolMessage(said.text, tool_call_id=said.call)
            case _:
                return HumanMessage(said.text)

    return [one(said) for said in ask.said]


def _reply(answer: Any, ask: ModelAsk, key: str) -> ModelReply:
    """What came back, in our words and without our key. A call of the answer tool is the answer."""
    text = _text(getattr(answer, "content", ""))
    calls: list[ToolCall] = []
    for call in getattr(answer, "tool_calls", None) or ():
        args = call.get("args")
        if call.get("name") == _ANSWER_TOOL:
            text, calls = json.dumps(args), []
            break
        if isinstance(args, dict):
            ident = str(call.get("id") or f"call-{len(calls)}")[:80]
            calls.append(ToolCall(id=ident, name=str(call.get("name"))[:80], args=args))
    usage = getattr(answer, "usage_metadata", None) or {}
    sent = _count(usage.get("input_tokens"))
    got = _count(usage.get("output_tokens"))
    counted = bool(sent or got)
    if not counted:
        sent = sum(len(s.text) for s in ask.said) // CHARS_A_TOKEN
        got = len(text) // CHARS_A_TOKEN
    if key:  # nobody told it, but a gateway between may echo what it was sent
        text = text.replace(key, GONE)
    return ModelReply(
        text=text, calls=tuple(calls), tokens_in=sent, tokens_out=got, counted=counted
    )


def _cut_off(err: Exception, key: str) -> ModelReply | None:
    """What a model had said when its limit of tokens ended it, where the client raises that: it was
    paid for, and is read like any other answer. None for every other error."""
    whole = getattr(err, "completion", None)
    choices, used = getattr(whole, "choices", None), getattr(whole, "usage", None)
    if not choices or used is None:
        return None
    text = str(getattr(choices[0].message, "content", "") or "")
    return ModelReply(
        text=text.replace(key, GONE) if key else text,
        tokens_in=_count(getattr(used, "prompt_tokens", 0)),
        tokens_out=_count(getattr(used, "completion_tokens", 0)),
    )


def _text(content: Any) -> str:
    """A model's words: a text, or a list of parts of which some are text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(
        p if isinstance(p, str) else str(p.get("text", "")) if isinstance(p, dict) else ""
        for p in parts
    )


def _count(value: Any) -> int:
    """Tokens as a server reports them: a whole number that is not negative, or none."""
    return value if isinstance(value, int) and 0 <= value < 10**9 else 0


def _failed(err: Exception, key: str) -> ModelFailed:
    """Which of our kinds a client's error is, in words without secrets, addresses or bodies."""
    chain: list[BaseException] = [err]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and len(chain) < 8:
        chain.append(cause)
    names = " ".join(type(e).__name__ for e in chain)
    too_long = next((e for e in chain if isinstance(e, TooLong)), None)
    if too_long is not None:
        return ModelFailed("too long", str(too_long))
    if any(isinstance(e, Late) for e in chain) or "Timeout" in names:
        return ModelFailed("timeout", "the server gave no whole answer in time")
    if "Connect" in names or "NetworkError" in names or "RemoteProtocolError" in names:
        return ModelFailed("unreachable", "the server could not be reached, or hung up")
    status = getattr(err, "status_code", None)
    if isinstance(status, int):
        kind = "unreachable" if status >= 500 or status == 429 else "refused"
        return ModelFailed(kind, f"the server answered with HTTP {status}")
    with contextlib.suppress(Exception):
        return ModelFailed("garbled", f"{type(err).__name__}: {redact(str(err), (key,))[:160]}")
    return ModelFailed("garbled", type(err).__name__)
