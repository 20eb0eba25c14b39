"""The pages before the login: plain HTML without external files, since Streamlit is reachable only after login."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse

from toolkit.language.catalogue import LANGUAGES, Language, language

_ICON = base64.b64encode(Path(__file__).parents[1].joinpath("icon.svg").read_bytes()).decode()
_HEAD = f"""<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Recall Rate</title><link rel="icon" href="data:image/svg+xml;base64,{_ICON}">
<style>
:root {{ color-scheme: light dark; --back: #fbfcfa; --field: #fff; --text: #17231d; --line: #cfdad3; --main: #0b6e4f;
  --wrong: #a3262a; }}
@media (prefers-color-scheme: dark) {{ :root {{ --back: #101814; --field: #1a2620; --text: #e7efe9; --line: #31443a;
  --main: #1d8f61; --wrong: #ff9a94; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--back); color: var(--text);
  font: 1rem/1.5 "Source Sans", "Source Sans 3", "Noto Sans JP", system-ui, sans-serif; }}
main {{ width: min(24rem, calc(100vw - 2rem)); }}
h1 {{ font-size: 2rem; margin: 0 0 1rem; }}
label {{ display: block; font-size: 0.9rem; }}
input, button {{ width: 100%; font: inherit; padding: 0.5rem 0.75rem; border-radius: 0.4rem; }}
input {{ border: 1px solid var(--line); background: var(--field); color: inherit; margin: 0.25rem 0 0.75rem; }}
button {{ border: 0; background: var(--main); color: #fff; cursor: pointer; }}
:focus-visible {{ outline: 2px solid var(--main); outline-offset: 2px; }}
[role=alert] {{ color: var(--wrong); }}
</style>"""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'self' https:; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def language_of(request: Request, address: str = "") -> Language:
    """The language from the wanted address (``?lang=ja``), else from the browser."""
    asked = [code for code in LANGUAGES if f"lang={code}" in f"{request.url.query}&{address}"]
    browsers = (part.strip()[:2].lower() for part in request.headers.get("accept-language", "").split(","))
    return language(next((code for code in (*asked, *browsers) if code in LANGUAGES), "en"))


def secret_page(say: Language, target: str, following: str, wrong: str = "", status: int = 200) -> HTMLResponse:
    """The page that asks for the shared secret.

    Args:
        target: the address that receives the form.
        following: the address to go to afterwards.
        wrong: what was wrong with the last attempt.
    """
    form = (
        f'<input type="hidden" name="following" value="{escape(following)}">'
        f'<label for="secret">{escape(say("access.secret"))}</label>'
        '<input id="secret" name="secret" type="password" autocomplete="current-password" required autofocus>'
        f'<button type="submit">{escape(say("access.enter"))}</button>'
    )
    return _page(say, f'<form method="post" action="{escape(target)}">{form}</form>{_alert(wrong)}', status)


def button_page(
    say: Language, label: str, target: str, method: str, notice: str = "", status: int = 200
) -> HTMLResponse:
    """A notice and a button that leads to ``target``, to the identity provider or away from it."""
    button = f'<button type="submit">{escape(label)}</button>'
    return _page(say, f'{_alert(notice)}<form method="{method}" action="{escape(target)}">{button}</form>', status)


def notice_page(say: Language, text: str, status: int) -> HTMLResponse:
    """The page of a locked server."""
    return _page(say, _alert(text), status)


def _alert(text: str) -> str:
    return f'<p role="alert">{escape(text)}</p>' if text else ""


def _page(say: Language, body: str, status: int) -> HTMLResponse:
    html = f'<!doctype html><html lang="{say.code}"><head>{_HEAD}</head><body><main><h1>Recall Rate</h1>{body}</main>'
    return HTMLResponse(f"{html}</body></html>", status, _HEADERS)
