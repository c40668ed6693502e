"""Single sign-on in a real browser: the provider is another site, the cookie a Strict one."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import PHONE, Pages, serve
from tests.browser.fake_desk import ANN, FakeDesk
from tests.core.oidc_provider import CLIENT, SECRET, provider

from watchkeeper.adapters.oidc import Oidc, OidcConfig
from watchkeeper.adapters.system_clock import SystemClock


@pytest.mark.parametrize("javascript", [True, False], ids=["scripts", "no-scripts"])
def test_a_person_signs_in_by_the_provider_and_is_back_at_their_question(
    pages: Pages, desk: FakeDesk, javascript: bool
) -> None:
    clock = SystemClock()
    with provider(clock, "localhost") as run:
        config = OidcConfig(issuer=run.base, client_id=CLIENT, says="Example ID")
        served = serve(desk, sign_on=Oidc(config, SECRET, clock))
        try:
            pages.expected = ("401",)
            page = pages.open(PHONE, javascript=javascript)
            page.goto(f"{served.url}/a/P-7")
            page.get_by_role("link", name="Sign in with Example ID").click()
            page.wait_for_url(f"{served.url}/a/P-7")
            expect(page.get_by_role("heading", level=1).first).to_contain_text("train-02")
            kept = {c["name"]: c for c in page.context.cookies(served.url)}
            cookie = kept[f"watchkeeper-{served.url.rpartition(':')[2]}"]
            assert (cookie["sameSite"], cookie["httpOnly"]) == ("Strict", True)
            assert len(kept) == 1  # what it left with is gone
            assert ANN.name in page.content()
        finally:
            page.context.close()
            desk.say_line("Watch", "The test ends.")
            served.end()
