"""Ray's token authentication: whether this process speaks to a cluster with a token.

Ray reads `RAY_AUTH_MODE`, and where that is not set its own programs turn tokens on as soon as
`~/.ray/auth_token` exists. Whoever meets a real cluster does the same; the lab, which listens on
this machine only, never asks for one.
"""

from __future__ import annotations

import os

NO_TOKEN = {"RAY_AUTH_MODE": "disabled"}
"""The environment of the lab and of all that meets it, whatever lies in the user's home."""


def meet_the_lab() -> None:
    """From here on this process, and what it starts, meets Ray without a token."""
    os.environ.update(NO_TOKEN)


def meet_a_cluster() -> str:
    """From here on this process meets Ray as Ray's own programs here would: with a token where
    `RAY_AUTH_MODE` says so, or where it is not set and there is a token. Says which, and why."""
    asked = os.environ.get("RAY_AUTH_MODE")
    from ray._private.authentication.authentication_token_setup import (
        maybe_enable_token_auth_if_token_available,
    )

    with_token = maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    why = f"RAY_AUTH_MODE={asked}" if asked is not None else "RAY_AUTH_MODE is not set"
    if with_token:
        return f"with a token ({why}{'' if asked else ', and a token was found'})"
    return f"without a token ({why}{'' if asked else ', and no token was found'})"
