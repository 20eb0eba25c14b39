"""Login by OpenID Connect: Streamlit talks to the provider, and the gateway checks the account."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from streamlit.user_info import generate_login_redirect_url
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME
from streamlit.web.server.starlette.starlette_websocket import _get_signed_cookie_with_chunks

from toolkit.ui.access import may_enter
from toolkit.ui.gateway.page import button_page, language_of
from toolkit.ui.gateway.sockets import Application, Message

CALLBACK = "/oauth2callback"
FORGET = "/auth/logout"
ROUTES = ("/auth/login", FORGET)
"""Streamlit's own paths, open to everybody."""


def provider_address() -> str:
    """The address at which Streamlit starts the login with the provider."""
    return generate_login_redirect_url("default")


async def arrive(
    application: Application, request: Request, begin: Callable[[Request, Response], Response], leave: str
) -> Response:
    """Answer a browser that returns from the provider: log it in if its account is allowed.

    Args:
        begin: adds a login to an answer.
        leave: the address at which a refused account logs out.
    """
    answer, user = await _called_back(application, request)
    if user is None:  # the provider refused
        return answer
    if not may_enter(str(user.get("email") or ""), bool(user.get("email_verified", True))):
        say = language_of(request)
        return button_page(say, say("access.log_out"), leave, "get", say("access.not_invited"), 403)
    return begin(request, answer)


async def _called_back(application: Application, request: Request) -> tuple[Response, dict[str, Any] | None]:
    """Streamlit's answer, and the user in the signed cookie that it sets."""
    answer = Response()
    answer.raw_headers = []

    async def take(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status_code = message["status"]
            answer.raw_headers = [*message["headers"]]
        else:
            answer.body += message.get("body", b"")

    await application(request.scope, request.receive, take)
    cookies: dict[str, str] = {}
    for name, value in answer.raw_headers:
        if name.lower() == b"set-cookie":
            cookies |= {key: one.value for key, one in SimpleCookie(value.decode("latin-1")).items()}
    found = _get_signed_cookie_with_chunks(cookies, USER_COOKIE_NAME)
    user = json.loads(found) if found else None
    return answer, user if user and user.get("is_logged_in") else None
