"""The gateway: an ASGI middleware in front of Streamlit, including its files, sockets, uploads, media and metrics.

On 127.0.0.1 it only checks the host name of a request and the origin of a page that opens a socket. On other addresses
only the login page can be reached without a login; ``/_stcore/health`` answers ``ok`` to monitoring.
"""

from __future__ import annotations

import asyncio
import os
import sys
from functools import cache
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from streamlit import config
from streamlit.runtime import Runtime

from toolkit.language.catalogue import Language
from toolkit.ui.access import SECRET, has_oidc, listens_elsewhere, why_closed
from toolkit.ui.gateway import accounts
from toolkit.ui.gateway.guesses import LONGEST_WAIT, Guesses
from toolkit.ui.gateway.hosts import is_allowed_host, is_allowed_origin, is_local
from toolkit.ui.gateway.logins import LOGINS, Login
from toolkit.ui.gateway.page import button_page, language_of, notice_page, secret_page
from toolkit.ui.gateway.sockets import Application, Receive, Scope, Send, refuse, send_away, serve, with_identity
from toolkit.ui.gateway.uploads import Uploads

LOGIN = "/login"
LOGOUT = "/logout"
_HEALTH = "/_stcore/health"
_UPLOADS = "/_stcore/upload_file/"
_LONGEST_FORM = 8192
"""Bytes."""


def address_of(path: str) -> str:
    """The address of a path of the app, with the server's base path."""
    base = config.get_option("server.baseUrlPath").strip("/")
    return f"/{base}{path}" if base else path


class Gateway:
    """Passes a request on to ``application``, or answers it itself."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.guesses = Guesses()
        self.uploads = Uploads()
        self.loop: asyncio.AbstractEventLoop | None = None
        LOGINS.on_end = self._close_sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.loop = asyncio.get_running_loop()
        if scope["type"] not in ("http", "websocket"):
            return await self.application(scope, receive, send)
        socket = scope["type"] == "websocket"
        headers = Headers(scope=scope)
        host = headers.get("host")
        if not is_allowed_host(host) or (socket and not is_allowed_origin(headers.get("origin"), host)):
            if socket:
                return await refuse(send)
            say = language_of(Request(scope))
            return await PlainTextResponse(say("access.other_name"), 421)(scope, receive, send)
        if not listens_elsewhere() and is_local((scope.get("server") or ("127.0.0.1",))[0]):
            return await self.application(with_identity(scope, None), receive, send)
        if socket:
            return await self._serve_socket(scope, receive, send)
        request = Request(scope, receive)
        answer = await self._answer(request)
        if answer is not None:
            return await answer(scope, receive, send)
        if request.method == "PUT":
            return await self._upload(scope, receive, send)
        await self.application(with_identity(scope, None), receive, send)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the socket of a login; a page from an earlier login is sent to the login page."""
        token = Request({**scope, "type": "http"}).cookies.get(_cookie(scope))
        login = LOGINS.of_token(token)
        if _locked_reason() is not None or token is None:
            return await refuse(send)
        if login is None:
            return await send_away(scope, send, address_of(LOGIN))
        await serve(self.application, scope, receive, send, login, LOGINS, address_of(LOGIN))

    async def _answer(self, request: Request) -> Response | None:
        """The gateway's own answer; None if the request is passed on to Streamlit."""
        path = _path(request)
        login = LOGINS.of_token(request.cookies.get(_cookie(request.scope)))
        if path == _HEALTH and login is None:
            return PlainTextResponse("ok")
        if _locked_reason() is not None:
            return notice_page(language_of(request), language_of(request)("access.closed"), 503)
        if path == LOGOUT:
            return _log_out(request, login)
        if path == LOGIN:
            return await self._log_in(request, login)
        if has_oidc() and path == accounts.CALLBACK:
            return await accounts.arrive(self.application, request, _start_login, address_of(LOGOUT))
        if has_oidc() and path in accounts.ROUTES:
            return None
        if login is None:
            return _send_to_log_in(request)
        if path.startswith(_UPLOADS) and request.method != "OPTIONS":
            return self._refused_upload(request, path.removeprefix(_UPLOADS).partition("/")[0], login)
        return None

    def _refused_upload(self, request: Request, session: str, login: Login) -> Response | None:
        if session not in login.sessions:
            return PlainTextResponse("this session belongs to another login", 403)
        if request.method != "PUT":
            return None
        refused = self.uploads.why_refused(request.headers.get("content-length"))
        return PlainTextResponse(refused[1], refused[0]) if refused else None

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count an upload until Streamlit has received it."""
        size = int(Headers(scope=scope).get("content-length") or 0)
        self.uploads.coming += size
        try:
            await self.application(with_identity(scope, None), receive, send)
        finally:
            self.uploads.coming -= size

    async def _log_in(self, request: Request, login: Login | None) -> Response:
        following = _own_address(request.query_params.get("following"))
        if request.method == "GET":
            if login is not None:
                return RedirectResponse(following, 303)
            return _login_page(language_of(request, following), following)
        form = await _form(request)
        if request.method != "POST" or form is None:
            return PlainTextResponse("expected a short form", 400)
        if not is_allowed_origin(request.headers.get("origin"), request.headers.get("host")):
            return PlainTextResponse("this form comes from another site", 403)
        if has_oidc():
            return RedirectResponse(accounts.provider_address(), 303)
        following = _own_address(form.get("following"))
        return await self._check_guess(request, form.get("secret", ""), following)

    async def _check_guess(self, request: Request, given: str, following: str) -> Response:
        say = language_of(request, following)
        address = request.client.host if request.client else ""
        wait = self.guesses.turn(address, LOGINS.clock())
        if wait is None:
            seconds = round(self.guesses.seconds_left(address, LOGINS.clock()) - LONGEST_WAIT) + 1
            page = _login_page(say, following, say("access.too_soon", seconds=max(1, seconds)), 429)
            page.headers["Retry-After"] = str(max(1, seconds))
            return page
        await asyncio.sleep(wait)
        if not self.guesses.read(address, given, os.environ[SECRET]):
            return _login_page(say, following, say("access.wrong"), 403)
        return _start_login(request, RedirectResponse(following, 303))

    def _close_sessions(self, login: Login) -> None:
        """Make Streamlit drop the sessions of an ended login with their uploads."""
        if self.loop is not None and Runtime.exists():
            for session in list(login.sessions):
                self.loop.call_soon_threadsafe(Runtime.instance().close_session, session)


def _cookie(scope: Scope) -> str:
    """The name of the cookie; it contains the port, because browsers keep cookies by host only."""
    return f"recallrate_{(scope.get('server') or (None, 0))[1]}"


def _start_login(request: Request, answer: Response) -> Response:
    """Log a browser in, by adding the cookie to its answer."""
    answer.set_cookie(
        _cookie(request.scope),
        LOGINS.begin(),
        path=address_of("/"),
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


def _log_out(request: Request, login: Login | None) -> Response:
    """End the browser's login, unless the request comes from another site."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return PlainTextResponse("another site may not log out", 403)
    if login is not None:
        LOGINS.end(login)
    answer = RedirectResponse(address_of(accounts.FORGET) if has_oidc() else address_of(LOGIN), 303)
    answer.delete_cookie(_cookie(request.scope), path=address_of("/"))
    return answer


def _send_to_log_in(request: Request) -> Response:
    """Redirect to the login page if a person opens a page; otherwise refuse."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{address_of(LOGIN)}?{urlencode({'following': wanted})}", 303)
    return PlainTextResponse("log in first", 401)


def _login_page(say: Language, following: str, wrong: str = "", status: int = 200) -> Response:
    if has_oidc():
        return button_page(say, say("access.log_in"), address_of(LOGIN), "post", wrong, status)
    return secret_page(say, address_of(LOGIN), following, wrong, status)


def _path(request: Request) -> str:
    """The path below the base path."""
    path, base = request.url.path, address_of("/").rstrip("/")
    return path.removeprefix(base) if path.startswith(f"{base}/") else path


def _own_address(wanted: str | None) -> str:
    """The wanted address if it belongs to this app, else its first page."""
    home = address_of("/")
    if not wanted or not wanted.startswith(home) or wanted.partition("?")[0] in (address_of(LOGIN), address_of(LOGOUT)):
        return home
    foreign = wanted.startswith("//") or "\\" in wanted or not wanted.isprintable()  # as browsers read it
    return home if foreign else wanted


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of a small form; None for a longer form, which is not read."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_FORM:
            return None
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _locked_reason() -> str | None:
    """The reason why this server is locked, printed once to its log."""
    address = config.get_option("server.address")
    reason = why_closed(address, has_oidc(), config.get_option("server.maxUploadSize"))
    if reason is None and is_local(address):
        reason = f"requests come from other machines, but its address is {address}: start it with recallrate app"
    if reason is not None:
        _log_once(reason)
    return reason


@cache
def _log_once(reason: str) -> None:
    print(f"recallrate: locked: {reason}", file=sys.stderr)  # not on the page, which strangers can see
