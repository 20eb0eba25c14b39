"""Limits of the gateway: host names, uploads, locked servers, base paths and local use."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlencode

import pytest
from gateway_samples import COOKIE, SECRET, Ask, Inside, Socket, log_in, token_of
from streamlit import config

from toolkit.ui import access
from toolkit.ui.gateway import front, hosts, logins, uploads


@pytest.mark.parametrize(
    ("address", "host", "allowed"),
    [
        ("127.0.0.1", "127.0.0.1:8501", True),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "[::1]:8501", True),
        ("127.0.0.1", "evil.example", False),
        ("127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "192.168.0.7", False),
        ("127.0.0.1", None, False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "localhost@evil.example", False),
        ("0.0.0.0", "192.168.0.7:8501", True),
        ("0.0.0.0", "[2001:db8::1]", True),
        ("0.0.0.0", "evil.example:8501", False),
        ("0.0.0.0", "localhost", True),
        ("0.0.0.0", socket.gethostname(), True),
        ("app.lab.example", "App.Lab.Example.", True),
        ("app.lab.example", "evil.example", False),
        ("0.0.0.0", "named.example", True),
        ("127.0.0.1", "one.of.example", True),
        ("127.0.0.1", "of.example", False),
    ],
)
def test_the_server_answers_only_under_its_own_names(
    monkeypatch: pytest.MonkeyPatch, address: str, host: str | None, allowed: bool
) -> None:
    options = {
        "server.address": address,
        "server.allowedHosts": ["*.of.example"],
        "browser.serverAddress": "named.example",
    }
    usual = config.get_option
    monkeypatch.setattr(config, "get_option", lambda key: options.get(key, usual(key)))
    monkeypatch.setattr(config, "is_manually_set", lambda key: key == "browser.serverAddress")
    assert hosts.is_allowed_host(host) == allowed


def test_a_page_requested_under_another_name_is_refused(ask: Ask, inside: Inside) -> None:
    token = token_of(log_in(ask))
    said = ask("GET", "/", cookie=f"{COOKIE}={token}", host="evil.example")
    assert (said.status, inside.seen) == (421, [])


@pytest.mark.parametrize(
    ("length", "memory", "kept", "status"),
    [
        (1, 0, 0, None),
        (200, 0, 0, None),
        (202, 0, 0, 413),
        (150, 700, 0, None),
        (150, 851, 0, 413),
        (150, 0, 19_851, 413),
        (None, 0, 0, 411),
        (-1, 0, 0, 411),
    ],
)
def test_uploads_are_limited_individually_and_in_total(
    monkeypatch: pytest.MonkeyPatch, length: int | None, memory: int, kept: int, status: int | None
) -> None:
    monkeypatch.setattr(uploads, "in_memory", lambda: memory * uploads.MEGABYTE)
    monkeypatch.setattr(uploads, "_kept", lambda: kept * uploads.MEGABYTE)
    counted = uploads.Uploads()
    counted.coming = 150 * uploads.MEGABYTE if memory == 700 else 0
    refused = counted.why_refused(None if length is None else str(length * uploads.MEGABYTE))
    assert (refused and refused[0]) == status
    counted.coming = 900 * uploads.MEGABYTE
    refused = counted.why_refused(str(150 * uploads.MEGABYTE))
    assert refused is not None


def test_a_login_uploads_only_to_its_own_sessions(ask: Ask, inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "in_memory", lambda: 0)
    token = token_of(log_in(ask))
    login = logins.LOGINS.of_token(token)
    assert login is not None
    login.sessions.add("mine")
    sent = {"cookie": f"{COOKIE}={token}", "content_length": "3"}
    assert ask("PUT", "/_stcore/upload_file/mine/1", b"abc", **sent).status == 200
    assert ask("PUT", "/_stcore/upload_file/theirs/1", b"abc", **sent).status == 403
    assert ask("DELETE", "/_stcore/upload_file/theirs/1", **sent).status == 403
    assert inside.seen == ["PUT /_stcore/upload_file/mine/1"]


def test_without_a_secret_the_server_is_locked_and_hides_the_reason(
    ask: Ask, inside: Inside, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    front._log_once.cache_clear()
    monkeypatch.delenv(access.SECRET)
    said = ask("GET", "/login")
    assert said.status == 503
    assert "server is locked" in said.text
    assert "RECALLRATE_SECRET" not in said.text
    assert "set RECALLRATE_SECRET" in capsys.readouterr().err
    assert ask("GET", "/", cookie=f"{COOKIE}={logins.LOGINS.begin()}").status == 503
    assert inside.seen == []


def test_a_server_configured_with_another_address_than_its_own_is_locked(
    ask: Ask, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with ``uvicorn app:app --host 0.0.0.0``, which does not set Streamlit's options."""
    usual = config.get_option
    monkeypatch.setattr(config, "get_option", lambda key: "127.0.0.1" if key == "server.address" else usual(key))
    assert ask("GET", "/", host="localhost").status == 503
    assert inside.seen == []


def test_the_gateway_keeps_to_the_base_path(ask: Ask, inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = config.get_option
    monkeypatch.setattr(config, "get_option", lambda key: "rr" if key == "server.baseUrlPath" else usual(key))
    sent = ask("GET", "/rr/data", accept="text/html")
    assert sent.header("location") == "/rr/login?following=%2Frr%2Fdata"
    assert 'action="/rr/login"' in ask("GET", sent.header("location")).text
    said = ask("POST", "/rr/login", urlencode({"secret": SECRET, "following": "/rr/data"}).encode())
    assert said.header("location") == "/rr/data"
    assert "Path=/rr/" in said.header("set-cookie")
    assert inside.seen == []


def test_a_local_server_is_open(ask: Ask, made: front.Gateway, inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = config.get_option
    monkeypatch.setattr(config, "get_option", lambda key: "127.0.0.1" if key == "server.address" else usual(key))
    monkeypatch.setattr("streamlit.get_option", config.get_option)
    monkeypatch.setattr(front, "is_local", lambda address: True)
    monkeypatch.delenv(access.SECRET)
    assert ask("GET", "/", host="localhost:8501").text == "inside"
    assert ask("GET", "/", host="evil.example").status == 421
    page = Socket(made, host="localhost:8501", origin="http://localhost:8501")
    page.coming.put_nowait({"type": "websocket.disconnect"})
    asyncio.run(page.run())
    assert page.kinds == ["accept"]
    foreign = Socket(made, host="localhost:8501", origin="http://evil.example")
    asyncio.run(foreign.run())
    assert foreign.kinds == ["close"]
