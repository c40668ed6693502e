"""One OpenID Connect provider, asked by the console: the code flow with PKCE, state and nonce.

Meets `core.sign_on.SignOn`. Protocol and claims are Authlib's, signatures joserfc's, both imported
when somebody first signs in; the requests are ours, bounded in time and size. Lets nobody in whom
it could not check to the end.
"""

from __future__ import annotations

import json
import math
import re
import threading
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from watchkeeper.core.clock import Clock
from watchkeeper.core.errors import UsageError
from watchkeeper.core.roles import BINDABLE, in_order
from watchkeeper.core.sign_on import RESERVED, Departure, Identity, SignOnFailed
from watchkeeper.core.word import Word

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
"""Signatures with a key that only the provider has. Never `none`, and never one with a shared
secret: a public key could be passed off as one."""

LEEWAY_S = 30
"""How far the provider's clock may be off."""

TIMEOUT_S = 5.0
MOST_BYTES = 512 * 1024
METADATA_FOR_S = 3600.0
KEYS_AGAIN_AFTER_S = 30.0
"""A key that we do not know is looked up, but not more often than this."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@:+-]{0,126}[A-Za-z0-9])?")
"""As names in a file of people."""


class OidcConfig(Word, frozen=True):
    """What a site says of its provider. person: the claim that is the name in the file of people;
    `email` counts only where the provider has verified it. groups: the claim with its groups.
    roles: by role, the provider's groups that give it. says: what the button calls it."""

    issuer: str
    client_id: str
    client_secret_file: str = ""
    person: str = "email"
    groups: str = "groups"
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    roles: dict[str, tuple[str, ...]] = {}
    says: str = ""

    def wrong(self) -> str:
        """What cannot be so, in a sentence; "" when all can."""
        if not _safe(self.issuer):
            return f"issuer must be https://, not {self.issuer!r}."
        if not self.client_id:
            return "client_id must not be empty."
        if "openid" not in self.scopes:
            return "scopes must hold openid."
        for role in self.roles:
            if role not in BINDABLE:
                return f"no role is called {role!r} that a claim may give; there are: " + ", ".join(
                    BINDABLE
                )
        return ""


class Oidc:
    """Meets `core.sign_on.SignOn`."""

    def __init__(self, config: OidcConfig, secret: str, clock: Clock) -> None:
        """secret: of the client, "" for a public one. Raises UsageError for a wrong config. Asks
        nobody yet: a watch begins with its provider down."""
        if wrong := config.wrong():
            raise UsageError(f"oidc: {wrong}")
        self._config = config
        self._secret = secret
        self._clock = clock
        self._lock = threading.Lock()
        self._metadata: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, dict[str, Any]] | None = None
        self._http: httpx.Client | None = None  # made with the first request: it reads CA files

    @property
    def says(self) -> str:
        return self._config.says or urlsplit(self._config.issuer).netloc

    def address(self, departure: Departure) -> str:
        """See `core.sign_on.SignOn.address`."""
        from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        anew = {"prompt": "login", "max_age": "0"} if departure.fresh else {}
        return str(
            prepare_grant_uri(
                self._endpoint("authorization_endpoint"),
                client_id=self._config.client_id,
                response_type="code",
                redirect_uri=departure.back,
                scope=" ".join(self._config.scopes),
                state=departure.state,
                nonce=departure.nonce,
                code_challenge=create_s256_code_challenge(departure.verifier),
                code_challenge_method="S256",
                **anew,
            )
        )

    def identity(self, departure: Departure, code: str) -> Identity:
        """See `core.sign_on.SignOn.identity`."""
        token = self._token(departure, code)
        claims = self._claims(token, departure.nonce)
        seen = claims.get("auth_time")
        ago = math.inf if seen is None else self._now() - float(seen)
        return Identity(
            name=self._name(claims), roles=self._roles(claims), proven_ago_s=max(0.0, ago)
        )

    # The provider's word, checked.

    def _claims(self, token: dict[str, Any], nonce: str) -> dict[str, Any]:
        """The claims of the ID token, signed by the provider, for us, now, for this login."""
        from authlib.oidc.core import CodeIDToken
        from joserfc.errors import JoseError

        signed = token.get("id_token")
        if not isinstance(signed, str) or signed.count(".") != 2:
            raise SignOnFailed(f"{self.says} gave no ID token.")
        try:
            read = self._verified(signed)
            claims = CodeIDToken(
                read.claims,
                read.header,
                {
                    "iss": {"essential": True, "values": [self._config.issuer]},
                    "aud": {"essential": True, "values": [self._config.client_id]},
                    "nonce": {"essential": True, "values": [nonce]},
                },
                {
                    "nonce": nonce,
                    "client_id": self._config.client_id,
                    "access_token": token.get("access_token"),
                },
            )
            claims.validate(now=int(self._now()), leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError) as err:
            raise SignOnFailed(f"The ID token of {self.says} does not hold: {err}.") from err
        return dict(claims)

    def _verified(self, signed: str) -> Any:
        from joserfc import jwt
        from joserfc.errors import BadSignatureError, InvalidKeyIdError
        from joserfc.jwk import KeySet
        from joserfc.jws import JWSRegistry

        registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
        try:
            return jwt.decode(signed, KeySet.import_key_set(self._key_set()), registry=registry)
        except (InvalidKeyIdError, BadSignatureError, ValueError):
            known = self._keys
            keys = self._key_set(again=True)  # a provider changes its keys
            if self._keys is known:
                raise
            return jwt.decode(signed, KeySet.import_key_set(keys), registry=registry)

    def _name(self, claims: dict[str, Any]) -> str:
        claim = self._config.person
        name = claims.get(claim)
        if claim == "email" and claims.get("email_verified") is not True:
            raise SignOnFailed(f"{self.says} has not verified the address of who signs in.")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith(RESERVED):
            raise SignOnFailed(f"{self.says} gave no name that a person can have ({claim}).")
        return name

    def _roles(self, claims: dict[str, Any]) -> tuple[str, ...]:
        said = claims.get(self._config.groups, ())
        groups = {said} if isinstance(said, str) else set()
        if isinstance(said, list | tuple):
            groups = {g for g in said if isinstance(g, str)}
        return in_order(r for r, names in self._config.roles.items() if groups & set(names))

    # Requests.

    def _token(self, departure: Departure, code: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": departure.back,
            "code_verifier": departure.verifier,
            "client_id": self._config.client_id,
        }
        auth = None
        if self._secret:
            # RFC 6749, 2.3.1: both parts form-encoded, then Basic; where the provider knows no
            # Basic, in the form.
            ways = self._known().get("token_endpoint_auth_methods_supported")
            if isinstance(ways, list) and "client_secret_basic" not in ways:
                form["client_secret"] = self._secret
            else:
                auth = (quote(self._config.client_id, safe=""), quote(self._secret, safe=""))
        return self._ask("POST", self._endpoint("token_endpoint"), data=form, auth=auth)

    def _endpoint(self, name: str) -> str:
        address = self._known().get(name)
        if not isinstance(address, str) or not _safe(address):
            raise SignOnFailed(f"{self.says} names no safe {name}.")
        return address

    def _known(self) -> dict[str, Any]:
        """What the provider says of itself."""
        with self._lock:
            if self._metadata and self._clock.steady() - self._metadata[0] < METADATA_FOR_S:
                return self._metadata[1]
        address = f"{self._config.issuer.rstrip('/')}/.well-known/openid-configuration"
        said = self._ask("GET", address)
        if said.get("issuer") != self._config.issuer:
            raise SignOnFailed(f"{self.says} calls itself {said.get('issuer')!r}; refused.")
        with self._lock:
            self._metadata = (self._clock.steady(), said)
        return said

    def _key_set(self, *, again: bool = False) -> Any:
        with self._lock:
            kept, now = self._keys, self._clock.steady()
            age = now - kept[0] if kept else math.inf
            if kept and age < (KEYS_AGAIN_AFTER_S if again else METADATA_FOR_S):
                return kept[1]
        keys = self._ask("GET", self._endpoint("jwks_uri"))
        with self._lock:
            self._keys = (self._clock.steady(), keys)
        return keys

    def _ask(self, method: str, address: str, **more: Any) -> dict[str, Any]:
        """One request; a JSON object. Follows nobody elsewhere, heeds no proxy of the environment
        and reads no more than MOST_BYTES."""
        try:
            with self._client().stream(method, address, **more) as answer:
                body = b""
                for part in answer.iter_bytes():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise SignOnFailed(f"{self.says} says too much.")
                said = json.loads(body) if answer.status_code < 500 else None
        except httpx.HTTPError as err:
            raise SignOnFailed(
                f"{self.says} does not answer ({type(err).__name__}). One-time links still work."
            ) from err
        except ValueError as err:
            raise SignOnFailed(f"{self.says} answers with no JSON.") from err
        if answer.status_code != 200 or not isinstance(said, dict):
            why = said.get("error") if isinstance(said, dict) else answer.status_code
            raise SignOnFailed(f"{self.says} refused: {str(why)[:80]}.")
        return said

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._http is None:
                nobodys = CookieJar(policy=DefaultCookiePolicy(allowed_domains=()))
                self._http = httpx.Client(
                    timeout=TIMEOUT_S, trust_env=False, follow_redirects=False, cookies=nobodys
                )  # one person's login leaves nothing for the next
            return self._http

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _safe(address: str) -> bool:
    """https, or this host itself."""
    parts = urlsplit(address)
    if parts.scheme == "https":
        return bool(parts.hostname)
    return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
