"""Signs a folder of standing orders, and reads one only if its signature fits.

The signature is detached: `policy.sig` lies beside the files and holds a manifest (name and
SHA-256 of every policy and test file) with an Ed25519 signature over it. It proves who wrote a
set, not that it is the newest one: an older signed set fits as well.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from watchkeeper.adapters.policy_files import MAX_BYTES, misnamed, refuse_misnamed
from watchkeeper.core.errors import Malformed, PolicyError, Problem, UsageError
from watchkeeper.core.word import Word, canonical, parse

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SIGNATURE = "policy.sig"
FORMAT = 1
PRIVATE, PUBLIC = "policy-signing-key.pem", "policy-signing-key.pub.pem"

_PURPOSE = b"watchkeeper policy manifest\n"
"""Stands before the manifest in what is signed, so that no other signature of the key fits."""


class Manifest(Word, frozen=True):
    """What is signed. files: name in the folder to SHA-256 of its bytes, 64 hex digits."""

    format: int
    files: dict[str, str]


class Signature(Word, frozen=True):
    """The content of `policy.sig`. key: id of the public key; signature: base64."""

    format: int
    key: str
    signature: str
    manifest: Manifest


class Signed(NamedTuple):
    """A set whose signature fits: where it lies, by which key, and over how many files."""

    path: Path
    key: str
    files: int


class KeyPair(NamedTuple):
    """Two fresh key files, and the id of the public key."""

    private: Path
    public: Path
    key: str


def keygen(folder: Path) -> KeyPair:
    """Write a fresh key pair into a folder; the private key for its owner's eyes alone.

    Raises UsageError when one lies there already, or when nothing can be written.
    """
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(
        form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo
    )
    pair = KeyPair(folder / PRIVATE, folder / PUBLIC, key_id(key.public_key()))
    for path in (pair.private, pair.public):
        if path.exists():
            raise UsageError(f"{path} exists already, and a key is never written over. Move it.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, data, mode in ((pair.private, secret, 0o600), (pair.public, public, 0o644)):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
    except OSError as err:
        raise UsageError(f"The keys cannot be written to {folder}: {err.strerror}.") from err
    return pair


def sign(policies: Path, key: Path) -> Signed:
    """Write `policy.sig` beside the files of a folder, in one piece.

    Raises UsageError for a key that is not one or that others may read, and for a folder that
    cannot be read or written.
    """
    private = _private_key(key)
    manifest = _manifest_of(_bytes_of(policies))
    found = Signature(
        format=FORMAT,
        key=key_id(private.public_key()),
        signature=base64.b64encode(private.sign(_message(manifest))).decode(),
        manifest=manifest,
    )
    target = policies / SIGNATURE
    try:
        handle, name = tempfile.mkstemp(prefix=".policy-sig-", dir=policies)
        with os.fdopen(handle, "wb") as file:
            file.write(canonical(found) + b"\n")
            os.fchmod(file.fileno(), 0o644)
        os.replace(name, target)
    except OSError as err:
        raise UsageError(f"{target} cannot be written: {err.strerror}.") from err
    return Signed(target, found.key, len(manifest.files))


def verify(policies: Path, public_key: Path) -> Signed:
    """Does the folder hold exactly what was signed with this key?

    Raises PolicyError with every file that was added, removed or changed since, or saying what is
    wrong with the signature; UsageError when the key or the folder cannot be read.
    """
    key = read_public_key(public_key)
    files = _bytes_of(policies)
    _hold(policies, files, key)
    return Signed(policies / SIGNATURE, key_id(key), len(files))


def verified_reader(path: Path, public_key: Path) -> Callable[[], dict[str, str]]:
    """A reader like `read_policy_dir` that gives only what was signed with this key.

    The key is read at once, so that changing its file later changes nothing. Each call reads every
    file once and checks those very bytes. A call raises PolicyError when the signature is missing
    or does not fit, so that whoever holds a good set keeps it.
    """
    key = read_public_key(public_key)

    def read() -> dict[str, str]:
        files = _bytes_of(path)
        _hold(path, files, key)
        folder = path.name or "policies"
        return {
            f"{folder}/{name}": _text(path / name, data)
            for name, data in files.items()
            if not name.endswith("_test.yaml")
        }

    return read


def signed_fingerprint(path: Path) -> str:
    """Changes whenever a signed file, or the signature, is written; "" when there is no folder.

    For a watch that reads by `verified_reader`: orders that were refused are looked at again once
    they are signed, although they did not change again.
    """
    try:
        stats = [
            (name, (path / name).stat())
            for name in [*_names(path), *(name for name, _ in misnamed(path)), SIGNATURE]
            if (path / name).exists()
        ]
    except OSError:
        return ""
    return ";".join(f"{name}:{s.st_ino}:{s.st_size}:{s.st_mtime_ns}" for name, s in stats)


def read_public_key(path: Path) -> Ed25519PublicKey:
    """An Ed25519 public key in PEM. Raises UsageError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    data = _key_bytes(path)
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as err:
        hint = " It holds a private key; name the .pub.pem file." if b"PRIVATE" in data else ""
        raise UsageError(f"{path} is not a public key in PEM.{hint}") from err
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{path} is not an Ed25519 key. Make one with `policy keygen`.")
    return key


def key_id(key: Ed25519PublicKey) -> str:
    """What people compare: 16 hex digits of the SHA-256 of the public key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _private_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _key_bytes(path)
    if b"PRIVATE KEY-----" not in data:  # said first: a public key may well be read by others
        hint = " It holds a public key; name the file without .pub." if b"PUBLIC" in data else ""
        raise UsageError(
            f"{path} is not a private key in PEM.{hint} Make one with `policy keygen`."
        )
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UsageError(
            f"The private key {path} can be read by others (mode {mode:o}). "
            f"Run `chmod 600 {path}`; make a new key if others had access."
        )
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError as err:
        raise UsageError(f"{path} is locked with a passphrase; give it unlocked.") from err
    except (ValueError, UnsupportedAlgorithm) as err:
        raise UsageError(f"{path} is not a private key in PEM.") from err
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} is not an Ed25519 key. Make one with `policy keygen`.")
    return key


def _key_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(65_536)
    except OSError as err:
        raise UsageError(f"The key {path} cannot be read: {err.strerror}.") from err


def _hold(policies: Path, files: dict[str, bytes], key: Ed25519PublicKey) -> None:
    """Raises PolicyError unless the signature is this key's and fits these very bytes."""
    from cryptography.exceptions import InvalidSignature

    where = f"{policies.name or 'policies'}/{SIGNATURE}"
    found = _signature(policies, where)
    if found.key != key_id(key):
        raise _refused(where, f"it is signed with the key {found.key}, not with {key_id(key)}")
    try:
        signature = base64.b64decode(found.signature, validate=True)
        key.verify(signature, _message(found.manifest))
    except (InvalidSignature, binascii.Error, ValueError):
        text = "the signature does not fit its own list of files: this file was altered"
        raise _refused(where, text) from None
    changed = _changed(policies.name or "policies", found.manifest.files, files)
    if changed:
        raise PolicyError(changed)


def _signature(policies: Path, where: str) -> Signature:
    try:
        with (policies / SIGNATURE).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        text = "there is no signature. Sign these orders with `watchkeeper policy sign --key FILE`"
        raise _refused(where, text) from None
    except OSError as err:
        raise _refused(where, f"the signature cannot be read: {err.strerror}") from err
    try:
        found = parse(data, Signature, "the signature")
    except Malformed as err:
        raise _refused(where, str(err)) from err
    if (found.format, found.manifest.format) != (FORMAT, FORMAT):
        raise _refused(where, f"its format is {found.format}, and only {FORMAT} is known")
    return found


def _changed(folder: str, signed: dict[str, str], files: dict[str, bytes]) -> tuple[Problem, ...]:
    there = _manifest_of(files).files
    said = {
        **dict.fromkeys(there.keys() - signed.keys(), "was added since the orders were signed"),
        **dict.fromkeys(signed.keys() - there.keys(), "was removed since the orders were signed"),
        **{
            name: "was changed since the orders were signed"
            for name in there.keys() & signed.keys()
            if there[name] != signed[name]
        },
    }
    return tuple(Problem(f"{folder}/{name}", 1, 1, f"{name} {said[name]}") for name in sorted(said))


def _refused(where: str, message: str) -> PolicyError:
    return PolicyError((Problem(where, 1, 1, message),))


def _manifest_of(files: dict[str, bytes]) -> Manifest:
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    return Manifest(format=FORMAT, files=digests)


def _message(manifest: Manifest) -> bytes:
    return _PURPOSE + canonical(manifest)


def _names(policies: Path) -> list[str]:
    """Every policy and test file of a folder: all that is ever read from it."""
    names = sorted(entry.name for entry in policies.iterdir())
    return [name for name in names if name.endswith(".yaml") and not name.startswith(".")]


def _bytes_of(policies: Path) -> dict[str, bytes]:
    """Name to bytes of every file that is signed. Raises UsageError."""
    try:
        found = {}
        refuse_misnamed(policies)
        for name in _names(policies):
            with (policies / name).open("rb") as file:
                found[name] = file.read(MAX_BYTES + 1)
            if len(found[name]) > MAX_BYTES:
                raise UsageError(f"{policies / name} is larger than {MAX_BYTES} bytes.")
    except OSError as err:
        why = f"{err.strerror} ({err.filename})"
        raise UsageError(f"The policy folder {policies} cannot be read: {why}.") from err
    if not found:
        raise UsageError(f"There are no policy files (*.yaml) in {policies}.")
    return found


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = data[: err.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}, is not UTF-8 text. Save it as UTF-8.") from err
