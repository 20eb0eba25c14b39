"""The gateway on its own, before an application that notes what reaches it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
from streamlit import config
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from toolkit.ui import access
from toolkit.ui.gateway import front, hosts, logins, uploads
from toolkit.ui.gateway.logins import Logins

SECRET = "a shared secret of some length"
COOKIE = "recallrate_8501"


@dataclass
class Inside:
    """The application behind the gateway."""

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
class Said:
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str:
        return dict(self.headers).get(name, "")


Ask = Callable[..., Said]


@pytest.fixture
def inside() -> Inside:
    return Inside()


@pytest.fixture
def made(inside: Inside) -> front.Gateway:
    return front.Gateway(inside)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server for other machines with a secret."""
    monkeypatch.setenv(access.SECRET, SECRET)
    options = {"server.address": "0.0.0.0", "server.maxUploadSize": 200}
    usual = config.get_option
    monkeypatch.setattr(config, "get_option", lambda key: options.get(key, usual(key)))
    monkeypatch.setattr("streamlit.get_option", config.get_option)
    monkeypatch.setattr(front, "has_oidc", lambda: False)


def asking(gateway: front.Gateway, method: str, path: str, body: bytes = b"", **headers: str) -> Awaitable[Said]:
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

    async def ask() -> Said:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await gateway(scope, receive, send)
        found = [(one.decode(), value.decode()) for one, value in sent[0].get("headers", [])]
        return Said(sent[0]["status"], found, b"".join(part.get("body", b"") for part in sent[1:]).decode())

    return ask()


@pytest.fixture
def ask(made: front.Gateway) -> Ask:
    return lambda *given, **headers: asyncio.run(asking(made, *given, **headers))  # type: ignore[arg-type]


def log_in(ask: Ask, secret: str = SECRET, following: str = "/", **headers: str) -> Said:
    return ask("POST", "/login", urlencode({"secret": secret, "following": following}).encode(), **headers)


def token_of(said: Said) -> str:
    return said.header("set-cookie").partition(";")[0].partition("=")[2]


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
def test_nothing_is_reached_without_a_login(ask: Ask, inside: Inside, method: str, path: str) -> None:
    assert ask(method, path, cookie=f"{COOKIE}=made-up; other=1").status == 401
    assert ask(method, path, b"x" * 100_000).status == 401
    assert ask("GET", path, accept="text/html").status in (200, 303)
    assert inside.seen == []


def test_a_person_is_asked_for_the_secret_and_then_gets_what_was_wanted(ask: Ask, inside: Inside) -> None:
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
def test_after_the_login_nobody_is_sent_elsewhere(ask: Ask, wanted: str) -> None:
    assert log_in(ask, following=wanted).header("location") == "/"


def test_health_says_ok_and_nothing_more(ask: Ask, inside: Inside) -> None:
    assert ask("GET", "/_stcore/health").text == "ok"
    assert inside.seen == []


def test_guesses_wait_their_turn_and_too_many_are_not_read(
    made: front.Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(logins.LOGINS, "clock", lambda: now[0])
    monkeypatch.setattr(front.asyncio, "sleep", wait)
    right = urlencode({"secret": SECRET}).encode()

    async def parallel() -> list[Said]:
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


def test_logging_out_ends_the_cookie_and_only_from_here(ask: Ask, inside: Inside) -> None:
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
    assert token not in repr(login), "what pages see of it opens nothing"
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
def test_sockets_of_strangers_and_of_other_pages_are_refused(
    made: front.Gateway, inside: Inside, headers: dict[str, str]
) -> None:
    cookie = f"{COOKIE}={logins.LOGINS.begin()}" if headers else ""
    socket = Socket(made, cookie, **headers)
    asyncio.run(socket.run())
    assert socket.kinds == ["close"]
    assert inside.seen == []


def test_a_page_left_over_from_an_ended_login_is_sent_to_the_login_page(made: front.Gateway, inside: Inside) -> None:
    socket = Socket(made, f"{COOKIE}=ended")
    asyncio.run(socket.run())
    assert socket.kinds == ["accept", "send", "close"]
    assert socket.sent_to == "/login"
    assert inside.seen == []


def test_a_socket_carries_its_logins_name_which_nobody_can_forge(made: front.Gateway, inside: Inside) -> None:
    token = logins.LOGINS.begin()
    socket = Socket(made, f"{COOKIE}={token}", **{"X-Recallrate-Login": "forged", "x-recallrate-login": "forged"})
    socket.scope["headers"] = [(name.lower(), value) for name, value in socket.scope["headers"]]  # type: ignore[attr-defined]
    socket.coming.put_nowait({"type": "websocket.disconnect"})
    asyncio.run(socket.run())
    login = logins.LOGINS.of_token(token)
    assert login is not None
    assert inside.identity == [login.name]
    assert config.get_option("server.trustedUserHeaders")["x-recallrate-login"] == "recallrate_login"


def test_the_end_of_a_login_takes_its_pages_away(made: front.Gateway) -> None:
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


def test_an_idle_page_is_taken_away_though_it_refreshes_itself(
    made: front.Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
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
def test_the_server_answers_under_its_own_names_alone(
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


def test_a_page_asked_for_under_another_name_is_not_given(ask: Ask, inside: Inside) -> None:
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
def test_uploads_are_bounded_one_by_one_and_together(
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


def test_a_login_uploads_to_its_own_sessions_alone(ask: Ask, inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_without_a_secret_it_stays_closed_and_strangers_are_not_told_why(
    ask: Ask, inside: Inside, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    front._say_closed.cache_clear()
    monkeypatch.delenv(access.SECRET)
    said = ask("GET", "/login")
    assert said.status == 503
    assert "server is locked" in said.text
    assert "RECALLRATE_SECRET" not in said.text
    assert "set RECALLRATE_SECRET" in capsys.readouterr().err
    assert ask("GET", "/", cookie=f"{COOKIE}={logins.LOGINS.begin()}").status == 503
    assert inside.seen == []


def test_a_server_that_was_told_another_address_than_it_listens_at_stays_closed(
    ask: Ask, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under ``uvicorn app:app --host 0.0.0.0``, which Streamlit's options know nothing of."""
    usual = config.get_option
    monkeypatch.setattr(config, "get_option", lambda key: "127.0.0.1" if key == "server.address" else usual(key))
    assert ask("GET", "/", host="localhost").status == 503
    assert inside.seen == []


def test_under_a_base_path_the_door_keeps_to_it(ask: Ask, inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = config.get_option
    monkeypatch.setattr(config, "get_option", lambda key: "rr" if key == "server.baseUrlPath" else usual(key))
    sent = ask("GET", "/rr/data", accept="text/html")
    assert sent.header("location") == "/rr/login?following=%2Frr%2Fdata"
    assert 'action="/rr/login"' in ask("GET", sent.header("location")).text
    said = ask("POST", "/rr/login", urlencode({"secret": SECRET, "following": "/rr/data"}).encode())
    assert said.header("location") == "/rr/data"
    assert "Path=/rr/" in said.header("set-cookie")
    assert inside.seen == []


@pytest.mark.parametrize("email", ["ann@lab.example", "eve@evil.example", None])
def test_who_comes_back_from_the_provider_is_looked_at(
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


def test_on_this_machine_alone_everything_is_open(
    ask: Ask, made: front.Gateway, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
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
