"""Who may use the app, and which files it opens for them.

On 127.0.0.1 it is the user's own: no login, any path. As soon as it listens elsewhere it opens only what lies under the
allowed roots, and lets in only who has logged in: by OpenID Connect where Streamlit's secrets have an ``[auth]``
section, else with the secret in ``RECALLRATE_SECRET``. With neither it does not open at all.
"""

from __future__ import annotations

import argparse
import hmac
import ipaddress
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from toolkit.codecs.spec import grid_paths
from toolkit.data.uploads import uploads_dir
from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import cache_root, default_runs_dir
from toolkit.jpeg_dl.request import tables_dir
from toolkit.ui.components.language import say

SECRET = "RECALLRATE_SECRET"
ROOTS = "RECALLRATE_ROOTS"
LEAST_SECRET = 12
"""Characters."""
_WRONG_SECONDS = 1.0
"""How long a wrong secret keeps its session waiting."""


def is_local(address: str | None) -> bool:
    """Whether only this machine reaches a server at ``address``; None is every address of the machine."""
    if not address:
        return False
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def listens_elsewhere() -> bool:
    """Whether other machines can reach this server."""
    return not is_local(st.get_option("server.address"))


def why_closed(address: str | None, oidc: bool) -> str | None:
    """Why a server at ``address`` must not open; None where it may. English, for it is said before any choice."""
    if is_local(address) or oidc:
        return None
    length = len(os.environ.get(SECRET, ""))
    if not length:
        return (
            f"it would be reached from other machines at {address or 'every address'} without a login: set {SECRET} "
            "to a shared secret, or configure [auth] in Streamlit's secrets, or listen on 127.0.0.1"
        )
    if length < LEAST_SECRET:
        return f"{SECRET} must have at least {LEAST_SECRET} characters, it has {length}"
    return None


def has_oidc() -> bool:
    """Whether Streamlit's secrets name an identity provider."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:  # there are no secrets at all
        return False


def require_access() -> None:
    """Let the session in, or end its page here."""
    if not listens_elsewhere():
        return
    oidc = has_oidc()
    if (reason := why_closed(st.get_option("server.address"), oidc)) is not None:
        print(f"recallrate: closed: {reason}", file=sys.stderr)
        st.error(say("access.closed", reason=reason), icon=":material/lock:")
        st.stop()
    if oidc:
        if not st.user.is_logged_in:
            st.title("Recall Rate", anchor=False)
            st.button(say("access.log_in"), on_click=st.login, type="primary")
            st.stop()
    elif not st.session_state.get("entered"):
        _ask_for_secret()


def _ask_for_secret() -> None:
    with st.form("enter"):
        st.title("Recall Rate", anchor=False)
        given = st.text_input(say("access.secret"), type="password", autocomplete="current-password")
        sent = st.form_submit_button(say("access.enter"), type="primary")
    if sent and hmac.compare_digest(given.encode(), os.environ[SECRET].encode()):
        st.session_state["entered"] = True
        st.rerun()
    if sent:
        time.sleep(_WRONG_SECONDS)  # this session only: guessing becomes slow, nobody else waits
        st.error(say("access.wrong"), icon=":material/lock:")
    st.stop()


def take_roots(arguments: Sequence[str]) -> None:
    """Take the folders given as ``--root FOLDER`` after ``streamlit run app.py --`` for those that may be opened."""
    parser = argparse.ArgumentParser(prog="app.py", add_help=False, allow_abbrev=False)
    parser.add_argument("--root", action="append", type=Path, default=[])
    if given := parser.parse_known_args(list(arguments))[0].root:
        os.environ[ROOTS] = os.pathsep.join(str(root.resolve()) for root in given)


def allowed_roots() -> list[Path] | None:
    """The folders that typed paths must lie in; None where any path may be opened.

    Those of ``RECALLRATE_ROOTS`` (written like PATH) where it is set, else, when the app listens elsewhere, the working
    folder and the data cache; beside them the app's own folders of runs, uploads and exported tables.
    """
    if given := os.environ.get(ROOTS):
        named = [Path(part).expanduser() for part in given.split(os.pathsep) if part]
    elif listens_elsewhere():
        named = [Path.cwd(), cache_root()]
    else:
        return None
    return [root.resolve() for root in (*named, uploads_dir(), tables_dir(), default_runs_dir())]


def require_allowed(path: str | Path) -> None:
    """Refuse a path outside the allowed roots, links followed.

    Raises:
        UsageError: it is one.
    """
    roots = allowed_roots()
    if roots is None:
        return
    resolved = Path(path).expanduser().resolve()
    if not any(resolved.is_relative_to(root) for root in roots):
        raise UsageError(say("access.outside", path=path, roots=", ".join(map(str, roots))))


def require_allowed_dataset(spec: str) -> None:
    """Refuse a dataset outside the allowed roots; raises as :func:`require_allowed` does."""
    if spec and spec != "demo" and not spec.startswith("torchvision:"):
        require_allowed(spec)


def require_allowed_codecs(grid: str) -> None:
    """Refuse codecs that would read a file outside the allowed roots; raises as :func:`require_allowed` does."""
    if allowed_roots() is not None:
        for path in grid_paths(grid):
            require_allowed(path)


def require_allowed_extractor(spec: str) -> None:
    """Refuse a checkpoint outside the allowed roots; raises as :func:`require_allowed` does."""
    kind, _, path = spec.partition(":")
    if kind == "checkpoint":
        require_allowed(path)
