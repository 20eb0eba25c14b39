"""A real server for other machines, accessed over the network with and without a login."""

from __future__ import annotations

import contextlib
import http.client
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from app_server import Server
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

SECRET = "not to be guessed"
STARTS = ["streamlit run app.py", pytest.param("recallrate app", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=STARTS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("served"))
    made.environment |= {"RECALLRATE_SECRET": SECRET, "STREAMLIT_SERVER_HEADLESS": "true"}
    if request.param == "recallrate app":
        made.launch("toolkit.cli", "app", "--address", "0.0.0.0", "--port", str(made.port))
    else:
        made.start("0.0.0.0")
    yield made
    made.kill()


def ask(
    server: Server, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    line.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = line.getresponse()
    said = answer.status, answer.headers, answer.read()
    line.close()
    return said


def log_in(server: Server) -> str:
    """The cookies of a logged-in browser, with Streamlit's own against forged requests."""
    status, headers, _ = ask(server, "POST", "/login", urlencode({"secret": SECRET}).encode())
    assert status == 303
    login = headers["set-cookie"].partition(";")[0]
    _, headers, _ = ask(server, "GET", "/_stcore/health", cookie=login)
    return f"{login}; {headers['set-cookie'].partition(';')[0]}"


def opened(server: Server, cookie: str, session: str = "", **headers: str) -> ClientConnection:
    spoken: Any = ["streamlit", "x", session] if session else ["streamlit"]
    return connect(
        f"ws://127.0.0.1:{server.port}/_stcore/stream",
        subprotocols=spoken,
        open_timeout=60,
        max_size=None,
        additional_headers={"Cookie": cookie} | headers,
    )


def draw(socket: ClientConnection, page: str = "data") -> list[ForwardMsg]:
    """Request a page and receive all of it."""
    asked = BackMsg()
    asked.rerun_script.query_string = "dataset=demo&size=16"
    asked.rerun_script.page_name = page
    socket.send(asked.SerializeToString())
    said = []
    while not said or said[-1].WhichOneof("type") != "script_finished":
        said.append(ForwardMsg.FromString(socket.recv(timeout=100)))  # type: ignore[arg-type]
    return said


def last_of(socket: ClientConnection) -> ForwardMsg:
    """The last message before the server closed the socket, or Streamlit dropped the session."""
    last = b""
    with contextlib.suppress(ConnectionClosed):
        while True:
            last = socket.recv()  # type: ignore[assignment]
    return ForwardMsg.FromString(last)


def session_of(said: list[ForwardMsg]) -> str:
    return next(one.new_session.initialize.session_id for one in said if one.WhichOneof("type") == "new_session")


@pytest.fixture(scope="module")
def visitor(server: Server) -> Iterator[tuple[str, ClientConnection, list[ForwardMsg]]]:
    """Cookies, socket, and the messages of the first page."""
    cookie = log_in(server)
    with opened(server, cookie) as socket:
        yield cookie, socket, draw(socket)


def test_a_stranger_reaches_nothing(server: Server) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        opened(server, "").close()
    for method, path in (
        ("GET", "/_stcore/metrics"),
        ("GET", "/static/index.html"),
        ("GET", "/_stcore/host-config"),
        ("PUT", "/_stcore/upload_file/a/b"),
    ):
        assert ask(server, method, path)[0] == 401, path
    status, headers, _ = ask(server, "GET", "/pilot", accept="text/html")
    assert (status, headers["location"]) == (303, "/login?following=%2Fpilot")


def test_a_visitor_gets_the_pages_and_their_pictures(
    server: Server, visitor: tuple[str, ClientConnection, list[ForwardMsg]]
) -> None:
    cookie, _, said = visitor
    shown = "".join(str(one) for one in said)
    assert "exception {" not in shown
    assert "disc-rising" in shown
    for docstring in ("A local file, since", "The script that Streamlit runs"):
        assert docstring not in shown, "Streamlit shows bare strings of its script"
    picture = re.findall(r'"(/media/[^"]+)"', shown)[0]
    assert ask(server, "GET", picture)[0] == 401
    assert ask(server, "GET", picture, cookie="recallrate_1=x")[0] == 401
    status, _, content = ask(server, "GET", picture, cookie=cookie)
    assert (status, content[:4]) == (200, b"\x89PNG")
    assert ask(server, "GET", "/_stcore/metrics", cookie=cookie)[0] == 200


def test_other_host_names_of_this_server_are_refused(
    server: Server, visitor: tuple[str, ClientConnection, list[ForwardMsg]]
) -> None:
    cookie = visitor[0]
    assert ask(server, "GET", "/", host="evil.example", cookie=cookie)[0] == 421
    for headers in ({"Origin": "http://evil.example"}, {"Origin": f"http://127.0.0.1:{server.port + 1}"}):
        with pytest.raises(InvalidStatus, match="403"):
            opened(server, cookie, **headers).close()


def test_a_session_is_resumed_only_by_its_own_login(server: Server) -> None:
    mine, other = log_in(server), log_in(server)
    with opened(server, mine) as socket:
        session = session_of(draw(socket, "cost"))
    with opened(server, mine, session) as socket:
        assert session_of(draw(socket, "cost")) == session
    with opened(server, other, session) as socket:
        assert session_of(draw(socket, "cost")) != session
    with pytest.raises(InvalidStatus):
        opened(server, "", session).close()


def test_uploads_are_accepted_for_own_sessions_up_to_the_limit(
    server: Server, visitor: tuple[str, ClientConnection, list[ForwardMsg]]
) -> None:
    cookie, _, said = visitor
    token = re.search(r"_streamlit_xsrf=([^;]+)", cookie)
    assert token is not None
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\nPK\r\n--x--\r\n'
    sent = {"content_type": "multipart/form-data; boundary=x", "x_xsrftoken": token[1], "cookie": cookie}
    mine = f"/_stcore/upload_file/{session_of(said)}/one"
    assert ask(server, "PUT", mine, form, **sent)[0] == 204
    assert ask(server, "PUT", mine, form, **sent | {"cookie": log_in(server)})[0] == 403
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    line.putrequest("PUT", mine)
    line.putheader("cookie", cookie)
    line.putheader("content-length", str(300 * 1024**2))
    line.endheaders()
    assert line.getresponse().status == 413, "refused before any of it was sent"
    line.close()


def test_logging_out_by_the_button_ends_every_page_and_the_cookie(server: Server) -> None:
    cookie = log_in(server)
    with opened(server, cookie) as first, opened(server, cookie) as second:
        draw(first, "cost")
        said = draw(second, "cost")
        session = session_of(said)
        shown = [one.delta.new_element for one in said if one.WhichOneof("type") == "delta"]
        button = next(one.button for one in shown if one.button.label == "Log out")
        press = BackMsg()
        press.rerun_script.query_string = "dataset=demo&size=16"
        press.rerun_script.page_name = "cost"
        pressed = press.rerun_script.widget_states.widgets.add()
        pressed.id, pressed.trigger_value = button.id, True
        second.send(press.SerializeToString())
        assert [last_of(socket).auth_redirect.url for socket in (first, second)] == ["/logout", "/logout"]
    assert ask(server, "GET", "/_stcore/metrics", cookie=cookie)[0] == 401
    with opened(server, cookie, session) as socket:
        assert last_of(socket).auth_redirect.url == "/login"
    with opened(server, log_in(server), session) as socket:
        assert session_of(draw(socket, "cost")) != session


def test_a_wrong_secret_opens_nothing(server: Server) -> None:
    status, headers, page = ask(server, "POST", "/login", urlencode({"secret": "wrong"}).encode())
    assert (status, headers["set-cookie"]) == (403, None)
    assert b"Wrong secret" in page
