"""A small OpenID Connect provider on loopback: real HTTP and signed tokens, and every way of
lying that a test asks for. It knows one person, who is always at their desk."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from joserfc import jwk, jwt

from watchkeeper.core.clock import Clock

CLIENT, SECRET = "watchkeeper", "s3cr:t/%"


@dataclass
class Provider:
    """One provider. `lies` changes the claims of the next tokens; the other fields how it signs
    and answers."""

    clock: Clock
    base: str = ""
    lies: dict[str, Any] = field(default_factory=dict)
    signs_with: str = "own"
    """own, new (a key that it rotated to), foreign, shared (HS256 with its public key) or none."""
    names_itself: str = ""
    token_answer: tuple[int, bytes] | None = None
    asked: list[str] = field(default_factory=list)
    keys: list[jwk.RSAKey] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def authorize(self, query: dict[str, str]) -> str:
        """Where the person is sent back to."""
        code = secrets.token_urlsafe(12)
        self.codes[code] = query
        return f"{query['redirect_uri']}?code={code}&state={query['state']}"

    def token(self, form: dict[str, str], basic: str) -> tuple[int, bytes]:
        if self.token_answer is not None:
            return self.token_answer
        began = self.codes.pop(form.get("code", ""), None)  # a code is good once
        client, _, secret = base64.b64decode(basic).decode().partition(":")
        if (unquote(client), unquote(secret)) != (CLIENT, SECRET):
            return 401, b'{"error": "invalid_client"}'
        hashed = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(hashed).decode().rstrip("=")
        if began is None or began["code_challenge"] != challenge:
            return 400, b'{"error": "invalid_grant"}'
        if began["redirect_uri"] != form["redirect_uri"]:
            return 400, b'{"error": "invalid_grant"}'
        said = {"access_token": "x", "token_type": "Bearer", "id_token": self.signed(began)}
        return 200, json.dumps(said).encode()

    def signed(self, began: dict[str, str]) -> str:
        now = int(self.clock.now().timestamp())
        claims = {
            "iss": self.base, "aud": CLIENT, "sub": "u-1", "iat": now, "exp": now + 300,
            "nonce": began["nonce"], "auth_time": now, "email": "ann", "email_verified": True,
            "groups": ["gpu-oncall"],
        } | self.lies  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        own = self.keys[0]
        if self.signs_with == "none":
            head, body = (_b64(json.dumps(x).encode()) for x in ({"alg": "none"}, claims))
            return f"{head}.{body}."
        if self.signs_with == "shared":
            shared = jwk.OctKey.import_key(own.as_pem(private=False))
            head = {"alg": "HS256", "kid": own.kid}
            return jwt.encode(head, claims, shared, algorithms=["HS256"])
        if self.signs_with == "foreign":
            key = jwk.RSAKey.generate_key(2048)
            return jwt.encode({"alg": "RS256", "kid": own.kid}, claims, key)
        if self.signs_with == "new":
            self.keys.insert(0, jwk.RSAKey.generate_key(2048, auto_kid=True))
            self.signs_with = "own"
        return jwt.encode({"alg": "RS256", "kid": self.keys[0].kid}, claims, self.keys[0])

    def said(self, path: str) -> dict[str, Any]:
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.names_itself or self.base,
                "authorization_endpoint": f"{self.base}/authorize",
                "token_endpoint": f"{self.base}/token",
                "jwks_uri": f"{self.base}/keys",
            }
        return {"keys": [key.as_dict(private=False) for key in self.keys]}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@contextmanager
def provider(clock: Clock, host: str = "127.0.0.1") -> Iterator[Provider]:
    """A provider that listens. host: what it is called; `localhost` is another site to a
    browser."""
    run = Provider(clock, keys=[jwk.RSAKey.generate_key(2048, auto_kid=True)])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            where = urlsplit(self.path)
            run.asked.append(where.path)
            if where.path == "/authorize":
                query = {name: values[0] for name, values in parse_qs(where.query).items()}
                self.send_response(302)
                self.send_header("location", run.authorize(query))
                self.end_headers()
                return
            self._send(200, json.dumps(run.said(where.path)).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            run.asked.append(self.path)
            self._send(*run.token(form, self.headers.get("authorization", "Basic ")[6:]))

        def _send(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    run.base = f"http://{host}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield run
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
