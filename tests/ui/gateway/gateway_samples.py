"""An application that records its requests, and clients that send requests and sockets through a gateway to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from toolkit.ui.gateway import front

SECRET = "a shared secret of some length"
COOKIE = "recallrate_8501"


@dataclass
class Inside:
    """The recording application behind the gateway."""

    seen: list[str] = field(default_factory=list)
    identity: list[str] = field(default_factory=list)
    answer: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(f"{scope.get('method', 'socket')} {scope['path']}")
        self.identity += [value.decode() for name, value in scope["headers"] if name == b"x-recallrate-login"]
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": self.answer})
            return await send({"type": "http.response.body", "body": b"inside"})
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "streamlit"})
        while (await receive())["type"] != "websocket.disconnect":
            pass


@dataclass
class Answer:
    """An answer."""

    status: int
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str:
        return dict(self.headers).get(name, "")


Ask = Callable[..., Answer]


def asking(gateway: front.Gateway, method: str, path: str, body: bytes = b"", **headers: str) -> Awaitable[Answer]:
    given = {"host": "192.168.0.7:8501", **{name.replace("_", "-"): value for name, value in headers.items()}}
    name, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": name,
        "raw_path": name.encode(),
        "query_string": query.encode(),
        "scheme": "http",
        "server": ("192.168.0.7", 8501),
        "client": ("10.0.0.1", 5),
        "root_path": "",
        "headers": [(one.encode(), value.encode()) for one, value in given.items()],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def ask() -> Answer:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await gateway(scope, receive, send)
        found = [(one.decode(), value.decode()) for one, value in sent[0].get("headers", [])]
        return Answer(sent[0]["status"], found, b"".join(part.get("body", b"") for part in sent[1:]).decode())

    return ask()


def log_in(ask: Ask, secret: str = SECRET, following: str = "/", **headers: str) -> Answer:
    return ask("POST", "/login", urlencode({"secret": secret, "following": following}).encode(), **headers)


def token_of(said: Answer) -> str:
    return said.header("set-cookie").partition(";")[0].partition("=")[2]


class Socket:
    """A browser's end of a socket through the gateway."""

    def __init__(self, gateway: front.Gateway, cookie: str = "", **headers: str) -> None:
        given = {"host": "192.168.0.7:8501", "origin": "http://192.168.0.7:8501", "cookie": cookie, **headers}
        self.scope = {
            "type": "websocket",
            "path": "/_stcore/stream",
            "raw_path": b"/_stcore/stream",
            "query_string": b"",
            "scheme": "ws",
            "server": ("192.168.0.7", 8501),
            "client": ("10.0.0.1", 5),
            "root_path": "",
            "subprotocols": ["streamlit", "xsrf", "old-session"],
            "headers": [(name.encode(), value.encode()) for name, value in given.items() if value],
        }
        self.gateway = gateway
        self.sent: list[Any] = []
        self.coming: asyncio.Queue[Any] = asyncio.Queue()
        self.coming.put_nowait({"type": "websocket.connect"})

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def run(self) -> None:
        await asyncio.wait_for(self.gateway(self.scope, self.coming.get, self.send), 20)

    @property
    def kinds(self) -> list[str]:
        return [message["type"].removeprefix("websocket.") for message in self.sent]

    @property
    def sent_to(self) -> str:
        return next(ForwardMsg.FromString(one["bytes"]).auth_redirect.url for one in self.sent if "bytes" in one)
