"""`policy keygen`, `sign` and `verify` as they are typed, with their exit codes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

POLICIES = Path(__file__).parents[2] / "policies"


def policy(*argv: object, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "watchkeeper.app.cli", "policy", *map(str, argv)],
        capture_output=True,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_orders_are_signed_verified_and_refused_once_changed(tmp_path: Path) -> None:
    orders = Path(shutil.copytree(POLICIES, tmp_path / "orders"))
    made = re.match(r"Key ([0-9a-f]{16})\. Keep (\S+) to yourself; (\S+) is", policy("keygen", "--to", tmp_path / "keys"))  # noqa: E501  # fmt: skip
    assert made is not None
    key, private, public = made.groups()
    assert "there is no signature" in policy(
        "verify", "--key", public, "--policies", orders, code=3
    )
    assert f"with key {key}" in policy("sign", "--key", private, "--policies", orders)
    assert f"as signed with key {key}" in policy("verify", "--key", public, "--policies", orders)

    (orders / "always.yaml").write_text((orders / "always.yaml").read_text() + "# a word\n")
    said = policy("verify", "--key", public, "--policies", orders, code=3)
    assert "orders/always.yaml:1:1: always.yaml was changed since the orders were signed" in said
    assert "key" in policy("keygen", "--to", tmp_path / "keys", code=2)


def test_orders_that_do_not_load_are_not_signed(tmp_path: Path) -> None:
    orders = Path(shutil.copytree(POLICIES, tmp_path / "orders"))
    policy("keygen", "--to", tmp_path)
    (orders / "zz.yaml").write_text("kind: Nonsense\n")
    policy("sign", "--key", tmp_path / "policy-signing-key.pem", "--policies", orders, code=3)
    assert not (orders / "policy.sig").exists()
