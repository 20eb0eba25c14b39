"""Logging in at the gateway: by the shared secret or a provider, and logging out."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlencode

import pytest
from gateway_samples import COOKIE, SECRET, Answer, Ask, Inside, asking, log_in, token_of
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from toolkit.ui import access
from toolkit.ui.gateway import front, logins
from toolkit.ui.gateway.logins import Logins


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/static/js/index.js"),
        ("GET", "/media/abc.png"),
        ("GET", "/_stcore/metrics"),
        ("GET", "/_stcore/host-config"),
        ("PUT", "/_stcore/upload_file/session/file"),
        ("POST", "/_stcore/agent"),
        ("GET", "/component/x"),
        ("GET", "//_stcore/health"),
        ("DELETE", "/_stcore/upload_file/a/b"),
        ("GET", "/auth/login"),
        ("GET", "/oauth2callback"),
    ],
)
def test_nothing_can_be_reached_without_a_login(ask: Ask, inside: Inside, method: str, path: str) -> None:
    assert ask(method, path, cookie=f"{COOKIE}=made-up; other=1").status == 401
    assert ask(method, path, b"x" * 100_000).status == 401
    assert ask("GET", path, accept="text/html").status in (200, 303)
    assert inside.seen == []


def test_the_right_secret_leads_to_the_requested_page(ask: Ask, inside: Inside) -> None:
    sent = ask("GET", "/probe?dataset=/etc&size=32", accept="text/html,*/*")
    assert (sent.status, sent.header("location")) == (303, "/login?following=%2Fprobe%3Fdataset%3D%2Fetc%26size%3D32")
    page = ask("GET", sent.header("location"))
    assert "Shared secret" in page.text
    assert 'value="/probe?dataset=/etc&amp;size=32"' in page.text
    assert "共有シークレット" in ask("GET", "/login", accept_language="ja,en;q=0.5").text
    wrong = log_in(ask, "not it")
    assert (wrong.status, wrong.header("set-cookie")) == (403, "")
    assert "Wrong secret" in wrong.text
    right = log_in(ask, following="/probe?dataset=/etc&size=32", host="192.168.0.7:8501")
    assert (right.status, right.header("location")) == (303, "/probe?dataset=/etc&size=32")
    assert "HttpOnly" in right.header("set-cookie")
    assert "samesite=lax" in right.header("set-cookie").lower()
    assert ask("GET", "/_stcore/metrics", cookie=f"{COOKIE}={token_of(right)}").text == "inside"
    assert inside.seen == ["GET /_stcore/metrics"]


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nSet-Cookie: x", "/login?x", "", "x"]
)
def test_a_login_never_redirects_to_another_site(ask: Ask, wanted: str) -> None:
    assert log_in(ask, following=wanted).header("location") == "/"


def test_health_answers_only_ok(ask: Ask, inside: Inside) -> None:
    assert ask("GET", "/_stcore/health").text == "ok"
    assert inside.seen == []


def test_guesses_wait_their_turn_and_excess_ones_are_not_read(
    made: front.Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(logins.LOGINS, "clock", lambda: now[0])
    monkeypatch.setattr(front.asyncio, "sleep", wait)
    right = urlencode({"secret": SECRET}).encode()

    async def parallel() -> list[Answer]:
        wrong = [asking(made, "POST", "/login", b"secret=guess") for _ in range(15)]
        return list(await asyncio.gather(*wrong, asking(made, "POST", "/login", right)))

    said = asyncio.run(parallel())
    assert sorted(waits) == [0, 1, 3, 7, 15]
    assert [one.status for one in said].count(403) == 5
    assert said[-1].status == 429, "the right one among fifteen wrong ones is not read"
    assert int(said[-1].header("retry-after")) >= 1
    assert "Too many wrong secrets" in said[-1].text
    now[0] = 60.0
    assert asyncio.run(asking(made, "POST", "/login", right)).status == 303


def test_a_form_from_another_site_and_a_long_one_are_refused(ask: Ask) -> None:
    assert log_in(ask, origin="https://evil.example").status == 403
    assert log_in(ask, origin="http://192.168.0.7:8501").status == 303
    assert ask("POST", "/login", b"secret=" + b"x" * 100_000).status == 400


def test_logging_out_ends_the_cookie_but_not_from_another_site(ask: Ask, inside: Inside) -> None:
    token = token_of(log_in(ask))
    assert ask("GET", "/logout", cookie=f"{COOKIE}={token}", sec_fetch_site="cross-site").status == 403
    assert ask("GET", "/x", cookie=f"{COOKIE}={token}").status == 200
    out = ask("GET", "/logout", cookie=f"{COOKIE}={token}", sec_fetch_site="same-origin")
    assert (out.status, out.header("location"), token_of(out)) == (303, "/login", '""')
    assert ask("GET", "/x", cookie=f"{COOKIE}={token}").status == 401


def test_a_login_ends_after_an_idle_hour_and_after_twelve_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    ended: list[str] = []
    kept = Logins(lambda: now[0], lambda login: ended.append(login.name))
    token = kept.begin()
    login = kept.of_token(token)
    assert login is not None
    assert token not in repr(login), "the name shown to pages is not a token"
    assert kept.of_token(login.name) is None
    now[0] = logins.IDLE_SECONDS - 1
    assert kept.of_token(token) is login
    now[0] = logins.IDLE_SECONDS
    assert kept.of_token(token) is None
    assert ended == [login.name]
    token = kept.begin()
    busy = kept.of_token(token)
    assert busy is not None
    start = now[0]
    while now[0] < start + logins.LONGEST_SECONDS:
        assert kept.of_token(token) is busy
        now[0] += 1800
        busy.used = now[0]
    assert kept.of_token(token) is None


@pytest.mark.parametrize("email", ["ann@lab.example", "eve@evil.example", None])
def test_the_account_from_the_provider_is_checked(
    ask: Ask, inside: Inside, monkeypatch: pytest.MonkeyPatch, email: str | None
) -> None:
    monkeypatch.setattr(front, "has_oidc", lambda: True)
    monkeypatch.setattr(front.accounts, "provider_address", lambda: "/auth/login?provider=token")
    monkeypatch.setenv(access.USERS, "@lab.example")
    assert ask("POST", "/login", b"").header("location") == "/auth/login?provider=token"
    assert "Log in" in ask("GET", "/login").text
    assert ask("GET", "/auth/login", accept="*/*").text == "inside"
    signed = create_signed_value(
        get_cookie_secret(), "_streamlit_user", json.dumps({"email": email, "is_logged_in": True, "origin": "x"})
    )
    inside.answer = [(b"location", b"/")] + (
        [(b"set-cookie", b"_streamlit_user=" + signed + b"; HttpOnly; Path=/")] if email else []
    )
    said = ask("GET", "/oauth2callback?state=1")
    assert said.status == (403 if email == "eve@evil.example" else 200)
    cookies = [value.partition("=") for name, value in said.headers if name == "set-cookie"]
    mine = [value.partition(";")[0] for name, _, value in cookies if name == COOKIE]
    assert bool(mine) == (email == "ann@lab.example")
    assert (email == "eve@evil.example") == ("not allowed on this server" in said.text)
    for token in mine:
        assert ask("GET", "/x", cookie=f"{COOKIE}={token}").text == "inside"
