"""Signed orders: whatever is done to a set after it was signed is found, and said by name."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from tests.core.policy_case import NIGHT

from watchkeeper.adapters.policy_files import read_policy_dir
from watchkeeper.adapters.policy_signature import (
    SIGNATURE,
    KeyPair,
    keygen,
    sign,
    signed_fingerprint,
    verified_reader,
    verify,
)
from watchkeeper.control.policy_shelf import Shelf, Source
from watchkeeper.core.errors import PolicyError, UsageError

SHIPPED = Path(__file__).parents[2] / "policies"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return keygen(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "policies"))
    (folder / "night-orders_test.yaml").write_text("tests: []\n")
    return folder


@pytest.fixture
def signed(orders: Path, keys: KeyPair) -> Path:
    sign(orders, keys.private)
    return orders


def test_signed_orders_are_read_as_any_others_without_their_tests(
    signed: Path, keys: KeyPair
) -> None:
    assert verified_reader(signed, keys.public)() == read_policy_dir(signed)
    found = verify(signed, keys.public)
    assert (found.key, found.path) == (keys.key, signed / SIGNATURE)
    assert found.files == len(list(signed.glob("*.yaml")))


def test_the_signature_file_holds_what_is_documented(signed: Path, keys: KeyPair) -> None:
    found = json.loads((signed / SIGNATURE).read_text())
    assert set(found) == {"format", "key", "signature", "manifest"}
    assert (found["format"], found["key"], len(found["key"])) == (1, keys.key, 16)
    assert len(base64.b64decode(found["signature"])) == 64
    assert "night-orders_test.yaml" in found["manifest"]["files"]


def alter(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def tamper(folder: Path) -> None:
        found = json.loads((folder / name).read_text())
        change(found)
        (folder / name).write_text(json.dumps(found))

    return tamper


def _flip(found: dict[str, Any]) -> None:
    raw = bytearray(base64.b64decode(found["signature"]))
    raw[0] ^= 1
    found["signature"] = base64.b64encode(raw).decode()


def _forget(found: dict[str, Any]) -> None:
    del found["manifest"]["files"]["always.yaml"]


TAMPERING: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file changed": (
        lambda f: (f / "always.yaml").write_text((f / "always.yaml").read_text() + "#"),
        "always.yaml was changed since",
    ),
    "a test changed": (
        lambda f: (f / "night-orders_test.yaml").write_text("x"),
        "night-orders_test.yaml was changed since",
    ),
    "a file added": (lambda f: (f / "zz.yaml").write_text("x"), "zz.yaml was added since"),
    "a file removed": (lambda f: (f / "people.yaml").unlink(), "people.yaml was removed since"),
    "a file renamed": (
        lambda f: (f / "people.yaml").rename(f / "folk.yaml"),
        "people.yaml was removed since",
    ),
    "no signature": (lambda f: (f / SIGNATURE).unlink(), "there is no signature"),
    "a bit of the signature": (alter(SIGNATURE, _flip), "this file was altered"),
    "the list shortened": (alter(SIGNATURE, _forget), "this file was altered"),
    "not base64": (
        alter(SIGNATURE, lambda s: s.update(signature="!")), "this file was altered"
    ),
    "a signature cut short": (
        alter(SIGNATURE, lambda s: s.update(signature="")), "this file was altered"
    ),
    "another key named": (
        alter(SIGNATURE, lambda s: s.update(key="0" * 16)), "signed with the key 0000000000000000"
    ),
    "another format": (alter(SIGNATURE, lambda s: s.update(format=2)), "its format is 2"),
    "an unknown field": (alter(SIGNATURE, lambda s: s.update(trust="me")), "not a valid Signature"),
    "no JSON": (lambda f: (f / SIGNATURE).write_text("fine"), "not a valid Signature"),
    "not even text": (lambda f: (f / SIGNATURE).write_bytes(b"\xff\xfe"), "not a valid Signature"),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERING, ids=str)
def test_every_kind_of_tampering_is_refused_and_named(
    what: str, signed: Path, keys: KeyPair
) -> None:
    tamper, says = TAMPERING[what]
    read = verified_reader(signed, keys.public)
    tamper(signed)
    for attempt in (read, lambda: verify(signed, keys.public)):
        with pytest.raises(PolicyError, match=says) as caught:
            attempt()
        assert all(p.file.startswith("policies/") for p in caught.value.problems)


def test_every_changed_file_is_named_at_once(signed: Path, keys: KeyPair) -> None:
    for name in ("always.yaml", "people.yaml"):
        (signed / name).write_text("x")
    (signed / "more.yaml").write_text("x")
    with pytest.raises(PolicyError) as caught:
        verify(signed, keys.public)
    assert [p.file for p in caught.value.problems] == [
        f"policies/{name}" for name in ("always.yaml", "more.yaml", "people.yaml")
    ]


def test_what_was_signed_with_another_key_is_refused(
    orders: Path, keys: KeyPair, tmp_path: Path
) -> None:
    stranger = keygen(tmp_path / "stranger")
    sign(orders, stranger.private)
    with pytest.raises(PolicyError, match=f"with the key {stranger.key}, not with {keys.key}"):
        verify(orders, keys.public)
    alter(SIGNATURE, lambda s: s.update(key=keys.key))(orders)
    with pytest.raises(PolicyError, match="altered"):
        verify(orders, keys.public)


def test_a_watch_keeps_the_last_good_set_until_the_change_is_signed(
    signed: Path, keys: KeyPair
) -> None:
    read = verified_reader(signed, keys.public)
    shelf = Shelf(Source(lambda: (read(), {}), lambda: signed_fingerprint(signed)), NIGHT)
    good = shelf.current()
    assert good is not None
    assert shelf.changed(NIGHT) == (good, ())
    (signed / "people.yaml").write_text(
        (signed / "people.yaml").read_text().replace("[lead]", "[lead, eve]")
    )
    assert shelf.changed(NIGHT) is None, "taken up once it has been still for a look"
    refused = shelf.changed(NIGHT)
    assert refused is not None
    assert refused[0] is good
    assert "people.yaml was changed since" in refused[1][0].message
    sign(signed, keys.private)
    assert shelf.changed(NIGHT) is None
    taken = shelf.changed(NIGHT)
    assert taken is not None
    assert taken[0] is not None
    assert taken[0].people["platform"] == ("lead", "eve")


def test_what_is_never_read_need_not_be_signed(signed: Path, keys: KeyPair) -> None:
    (signed / "README.md").write_text("other words")
    (signed / ".always.yaml.swp").write_text("an editor's")
    assert verify(signed, keys.public)


def test_a_reader_keeps_the_key_that_it_began_with(
    signed: Path, keys: KeyPair, tmp_path: Path
) -> None:
    public = tmp_path / "pub.pem"
    shutil.copy(keys.public, public)
    read = verified_reader(signed, public)
    stranger = keygen(tmp_path / "stranger")
    shutil.copy(stranger.public, public)
    sign(signed, stranger.private)
    with pytest.raises(PolicyError):
        read()


def test_the_fingerprint_moves_when_orders_are_signed_later(orders: Path, keys: KeyPair) -> None:
    before = signed_fingerprint(orders)
    sign(orders, keys.private)
    after = signed_fingerprint(orders)
    assert before != after == signed_fingerprint(orders)
    (orders / "night-orders_test.yaml").write_text("other")
    assert signed_fingerprint(orders) != after
    assert signed_fingerprint(orders / "nowhere") == ""


def test_signing_again_after_a_change_fits_again(signed: Path, keys: KeyPair) -> None:
    (signed / "people.yaml").write_text((signed / "people.yaml").read_text() + "# more\n")
    sign(signed, keys.private)
    assert verify(signed, keys.public)
    assert not list(signed.glob(".policy-sig-*")), "nothing is left behind"


def test_the_private_key_is_for_its_owner_and_never_written_over(tmp_path: Path) -> None:
    made = keygen(tmp_path / "new")
    assert made.private.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in made.public.read_bytes()
    with pytest.raises(UsageError, match="never written over"):
        keygen(tmp_path / "new")


def _locked(keys: KeyPair) -> bytes:
    key = load_pem_private_key(keys.private.read_bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))


def _rsa(_: KeyPair) -> bytes:
    key = generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("make", "mode", "says"),
    [
        (lambda k: k.private.read_bytes(), 0o640, "can be read by others"),
        (lambda k: k.public.read_bytes(), 0o600, "not a private key"),
        (_locked, 0o600, "passphrase"),
        (_rsa, 0o600, "not an Ed25519 key"),
        (lambda _: b"", 0o600, "not a private key"),
        (lambda k: k.public.read_bytes(), 0o644, "holds a public key; name the file without"),
        (lambda _: b"rules: []", 0o644, "not a private key in PEM"),
    ],
    ids=["readable", "public", "locked", "rsa", "empty", "readable public", "orders"],
)
def test_a_key_that_must_not_sign_does_not(
    make: Callable[[KeyPair], bytes],
    mode: int,
    says: str,
    orders: Path,
    keys: KeyPair,
    tmp_path: Path,
) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(make(keys))
    path.chmod(mode)
    with pytest.raises(UsageError, match=says):
        sign(orders, path)
    assert not (orders / SIGNATURE).exists()


def test_a_private_key_is_not_taken_for_a_public_one(signed: Path, keys: KeyPair) -> None:
    with pytest.raises(UsageError, match=r"name the \.pub\.pem file"):
        verify(signed, keys.private)
    with pytest.raises(UsageError, match="cannot be read"):
        verified_reader(signed, signed / "no.pem")


def test_no_folder_and_no_files_are_said(tmp_path: Path, keys: KeyPair) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        verify(tmp_path / "nowhere", keys.public)
    with pytest.raises(UsageError, match="no policy files"):
        sign(tmp_path, keys.private)
