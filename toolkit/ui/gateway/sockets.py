"""The socket from a page to Streamlit, open only as long as its login lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from streamlit import config
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from toolkit.ui.gateway.logins import IDENTITY, Login, Logins

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADER = "x-recallrate-login"
_NOT_ALLOWED = 1008
"""The close code for a policy violation."""


def with_identity(scope: Scope, login: Login | None) -> Scope:
    """The scope of a connection with only our identity header: the login's name, or none."""
    headers = [(name, value) for name, value in scope["headers"] if name.lower() != _HEADER.encode()]
    if login is not None:
        headers.append((_HEADER.encode(), login.name.encode()))
        trusted = config.get_option("server.trustedUserHeaders")
        if _HEADER not in trusted:
            config.set_option("server.trustedUserHeaders", {**trusted, _HEADER: IDENTITY})
    return {**scope, "headers": headers}


async def refuse(send: Send) -> None:
    """Refuse a socket; the browser sees status 403."""
    await send({"type": "websocket.close", "code": _NOT_ALLOWED})


async def send_away(scope: Scope, send: Send, address: str) -> None:
    """Open the socket of an ended login only to send its page to ``address``."""
    offered = scope.get("subprotocols") or [None]
    await send({"type": "websocket.accept", "subprotocol": offered[0]})
    await _redirect(send, address)


async def serve(
    application: Application, scope: Scope, receive: Receive, send: Send, login: Login, logins: Logins, home: str
) -> None:
    """Serve a socket until it or its login ends; the page then goes to the address given at the end.

    Args:
        home: the address after a login has expired.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    target = home
    gone = False

    def close(address: str | None) -> None:
        nonlocal target
        target = address or home
        loop.call_soon_threadsafe(ended.set)

    async def send_while_open(message: Message) -> None:
        if not gone:
            await send(message)

    async def receive_while_logged_in() -> Message:
        nonlocal gone
        coming = asyncio.ensure_future(receive())
        while not coming.done() and logins.named(login.name) is not None:
            waiting = [coming, asyncio.ensure_future(ended.wait())]
            await asyncio.wait(waiting, timeout=login.seconds_left(logins.clock()), return_when=asyncio.FIRST_COMPLETED)
            waiting[1].cancel()
        left = coming.done() and coming.result()["type"] == "websocket.disconnect"
        if not left and logins.named(login.name) is None:
            coming.cancel()
            await _redirect(send_while_open, target)
            gone = True
            return {"type": "websocket.disconnect", "code": _NOT_ALLOWED}
        message = coming.result()
        if _is_activity(message):
            login.used = logins.clock()
        return message

    login.closers.add(close)
    try:
        await application(with_identity(scope, login), receive_while_logged_in, send_while_open)
    finally:
        login.closers.discard(close)


def _is_activity(message: Message) -> bool:
    """Whether a message means user activity: a rerun that was not triggered by a timer."""
    if not message.get("bytes"):
        return False
    try:
        said = BackMsg.FromString(message["bytes"])
    except Exception:  # not a Streamlit message: Streamlit closes the socket itself
        return False
    return said.WhichOneof("type") == "rerun_script" and not said.rerun_script.is_auto_rerun


async def _redirect(send: Send, address: str) -> None:
    said = ForwardMsg()
    said.auth_redirect.url = address
    await send({"type": "websocket.send", "bytes": said.SerializeToString()})
    await send({"type": "websocket.close", "code": _NOT_ALLOWED})
