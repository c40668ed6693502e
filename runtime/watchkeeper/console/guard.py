"""What every request passes before anything of ours reads it: host, origin, size, how often; and
the headers that every answer carries. Knows no session and no page."""

from __future__ import annotations

import functools
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watchkeeper.console.rates import Buckets

BODY_LIMIT = 64 * 1024
UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "manifest-src 'self'"
)
SECURITY_HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: that makes browsers send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}

Refusal = Callable[[Request, int, str], Response]


class Place:
    """Where the console is reached: the hosts and origins that are ours."""

    def __init__(self, public_url: str, local_url: str = "") -> None:
        parts = urlsplit(public_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"public_url must be an http(s) address, not {public_url!r}")
        self.https = parts.scheme == "https"
        self.port = parts.port or (443 if self.https else 80)
        local = urlsplit(local_url).port or self.port
        self.public_url = f"{parts.scheme}://{parts.netloc.lower()}"
        self.public_host = parts.netloc.lower()
        self.loopback_hosts = {f"{name}:{local}" for name in ("127.0.0.1", "localhost")}
        if local == 80:
            self.loopback_hosts |= {"127.0.0.1", "localhost"}
        self.hosts = {self.public_host, *self.loopback_hosts}
        self.origins = {
            f"{parts.scheme}://{self.public_host}",
            *(f"http://{host}" for host in self.loopback_hosts),
        }
        # Cookies know no port: two watches on one host must not sign each other out.
        self.cookie = "__Host-watchkeeper" if self.https else f"watchkeeper-{self.port}"


def same_origin(headers: Headers, place: Place) -> bool:
    """May a request that changes state come from there? A browser always says where from; what
    says nothing is no browser, and still needs the session's own token."""
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.lower() in place.origins


class Guard:
    """ASGI: refuses a wrong host (400), a foreign origin (403), an oversize body (413), and an
    address that asks too often (429)."""

    def __init__(self, app: ASGIApp, place: Place, refusal: Refusal, addresses: Buckets) -> None:
        self._app = app
        self._place = place
        self._refusal = refusal
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no WebSocket is ever accepted
        request = Request(scope, receive)
        answer = self._refused(request)
        if answer is None and request.method in UNSAFE:
            body = await _read(receive, request.headers.get("content-length"))
            if body is None:
                answer = self._refusal(request, 413, f"A request may hold {BODY_LIMIT} bytes.")
            else:
                receive = _again(body, receive)
        await (answer or self._app)(scope, receive, _with_headers(send, self._place.https))

    def _refused(self, request: Request) -> Response | None:
        if wait := self._addresses.wait_s(client_of(request)):
            answer = self._refusal(
                request, 429, f"Too many requests from this address. Wait {wait} s."
            )
            answer.headers["retry-after"] = str(wait)
            return answer
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._place.hosts:
            return self._refusal(
                request, 400, "This address is not one of the console's. Check the Host header."
            )
        if request.method in UNSAFE and not same_origin(request.headers, self._place):
            return self._refusal(
                request, 403, "The request came from another site. Nothing was changed."
            )
        return None


def client_of(request: Request) -> str:
    """Whose requests are counted together."""
    return request.client.host if request.client else ""


async def _read(receive: Receive, declared: str | None) -> bytes | None:
    """The whole body, or None when it is too large; a lying length changes nothing."""
    if declared is not None and (not declared.isdigit() or int(declared) > BODY_LIMIT):
        return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Hand the read body on, once; then whatever the server says next (a disconnect)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _with_headers(send: Send, https: bool) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", ()))
            given = {name.lower() for name, _ in own}
            message["headers"] = own + [h for h in _raw(https) if h[0] not in given]
        await send(message)

    return wrapped


@functools.cache
def _raw(https: bool) -> tuple[tuple[bytes, bytes], ...]:
    """What every answer carries, as it is sent. With https, from now on only so: a first request
    in the clear would tell the cookie."""
    all_of = {**SECURITY_HEADERS}
    if https:
        all_of["strict-transport-security"] = "max-age=31536000"
    return tuple((k.encode("ascii"), v.encode("ascii")) for k, v in all_of.items())
