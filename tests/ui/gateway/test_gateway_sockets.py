"""Sockets through the gateway, which close when their login ends."""

from __future__ import annotations

import asyncio

import pytest
from gateway_samples import COOKIE, Inside, Socket
from streamlit import config
from streamlit.proto.BackMsg_pb2 import BackMsg

from toolkit.ui.gateway import front, logins


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "evil.example:8501", "origin": "http://evil.example:8501"},
        {"origin": "http://evil.example"},
        {"origin": "http://192.168.0.7:9999"},
        {"origin": "null"},
    ],
)
def test_sockets_without_a_login_or_from_other_pages_are_refused(
    made: front.Gateway, inside: Inside, headers: dict[str, str]
) -> None:
    cookie = f"{COOKIE}={logins.LOGINS.begin()}" if headers else ""
    socket = Socket(made, cookie, **headers)
    asyncio.run(socket.run())
    assert socket.kinds == ["close"]
    assert inside.seen == []


def test_a_page_of_an_ended_login_is_redirected_to_the_login_page(made: front.Gateway, inside: Inside) -> None:
    socket = Socket(made, f"{COOKIE}=ended")
    asyncio.run(socket.run())
    assert socket.kinds == ["accept", "send", "close"]
    assert socket.sent_to == "/login"
    assert inside.seen == []


def test_a_socket_carries_its_logins_name_and_forged_names_are_dropped(made: front.Gateway, inside: Inside) -> None:
    token = logins.LOGINS.begin()
    socket = Socket(made, f"{COOKIE}={token}", **{"X-Recallrate-Login": "forged", "x-recallrate-login": "forged"})
    socket.scope["headers"] = [(name.lower(), value) for name, value in socket.scope["headers"]]  # type: ignore[attr-defined]
    socket.coming.put_nowait({"type": "websocket.disconnect"})
    asyncio.run(socket.run())
    login = logins.LOGINS.of_token(token)
    assert login is not None
    assert inside.identity == [login.name]
    assert config.get_option("server.trustedUserHeaders")["x-recallrate-login"] == "recallrate_login"


def test_the_end_of_a_login_closes_its_pages(made: front.Gateway) -> None:
    token = logins.LOGINS.begin()

    async def scenario() -> Socket:
        socket = Socket(made, f"{COOKIE}={token}")
        running = asyncio.create_task(socket.run())
        while not socket.sent:
            await asyncio.sleep(0)
        login = logins.LOGINS.of_token(token)
        assert login is not None
        await asyncio.to_thread(logins.LOGINS.end, login, "/logout")
        await running
        return socket

    socket = asyncio.run(scenario())
    assert socket.kinds == ["accept", "send", "close"]
    assert socket.sent_to == "/logout"


def test_an_idle_page_closes_even_if_it_refreshes_itself(made: front.Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    token = logins.LOGINS.begin()
    login = logins.LOGINS.of_token(token)
    assert login is not None
    by_itself, by_hand = BackMsg(), BackMsg()
    by_itself.rerun_script.is_auto_rerun = True
    by_hand.rerun_script.query_string = "a=1"
    before = login.used

    async def scenario() -> tuple[Socket, list[float]]:
        socket = Socket(made, f"{COOKIE}={token}")
        running = asyncio.create_task(socket.run())
        used = []
        for message in (by_hand, by_itself):
            socket.coming.put_nowait({"type": "websocket.receive", "bytes": message.SerializeToString()})
            while not socket.coming.empty():
                await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)
            used.append(login.used)
        monkeypatch.setattr(logins, "IDLE_SECONDS", 0.05)
        socket.coming.put_nowait({"type": "websocket.receive", "bytes": by_itself.SerializeToString()})
        await running
        return socket, used

    socket, (after_hand, after_itself) = asyncio.run(scenario())
    assert before < after_hand == after_itself
    assert socket.kinds == ["accept", "send", "close"]
    assert socket.sent_to == "/login"
