"""Access rules of the app: who may use it, and which files it opens.

On 127.0.0.1 it needs no login and opens any path. On other addresses it opens only paths under the allowed roots and
needs a login: by OpenID Connect if Streamlit's secrets have an ``[auth]`` section and ``RECALLRATE_USERS`` names the
accounts, else with the secret in ``RECALLRATE_SECRET``. With neither it is locked. The login itself is in
:mod:`toolkit.ui.gateway`, which runs before Streamlit.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from toolkit.codecs.spec import grid_paths
from toolkit.data.spec import split_spec
from toolkit.data.uploads import uploads_dir
from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import cache_root, default_runs_dir
from toolkit.jpeg_dl.request import tables_dir
from toolkit.ui.components.language import current, say
from toolkit.ui.gateway.hosts import is_local
from toolkit.ui.gateway.logins import IDENTITY, LOGINS, Login
from toolkit.ui.gateway.uploads import LARGEST_UPLOAD

SECRET = "RECALLRATE_SECRET"
ROOTS = "RECALLRATE_ROOTS"
USERS = "RECALLRATE_USERS"
LEAST_SECRET = 12
"""Minimum number of characters."""


def listens_elsewhere() -> bool:
    """Whether other machines can reach this server."""
    return not is_local(st.get_option("server.address"))


def why_closed(address: str | None, oidc: bool, upload_megabytes: int = 0) -> str | None:
    """Why a server at ``address`` must stay locked; None if it may open. In English, before any choice of language."""
    if is_local(address):
        return None
    if upload_megabytes > LARGEST_UPLOAD:
        return f"uploads of {upload_megabytes} MB would be held in memory: add --server.maxUploadSize {LARGEST_UPLOAD}"
    if oidc:
        return None if os.environ.get(USERS) else f"set {USERS} to the allowed accounts, such as a@b.org,@c.org"
    length = len(os.environ.get(SECRET, ""))
    if not length:
        return (
            f"other machines could reach it at {address or 'every address'} without a login: set {SECRET} "
            "to a shared secret, or configure [auth] in Streamlit's secrets, or listen on 127.0.0.1"
        )
    if length < LEAST_SECRET:
        return f"{SECRET} must have at least {LEAST_SECRET} characters, got {length}"
    return None


@cache
def has_oidc() -> bool:
    """Whether Streamlit's secrets name an identity provider; read once, because a look without secrets is slow."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:  # there are no secrets at all
        return False


def require_access() -> None:
    """Admit a session that came through the gateway, or end its page here."""
    if not listens_elsewhere():
        return
    login, context = own_login(), get_script_run_ctx()
    if login is None or context is None:  # Streamlit was started without the gateway
        st.error(say("access.closed"), icon=":material/lock:")
        st.stop()
    login.sessions.add(context.session_id)


def own_login() -> Login | None:
    """The login of the current session."""
    return LOGINS.named(str(st.user.get(IDENTITY) or ""))


def may_enter(email: str, verified: bool) -> bool:
    """Whether ``RECALLRATE_USERS`` lists an account, by its address or by ``@domain`` for a whole domain."""
    named = [one.strip().lower() for one in os.environ.get(USERS, "").split(",") if one.strip()]
    address = email.strip().lower()
    name, at, domain = address.rpartition("@")
    return verified and bool(name and at) and (address in named or f"@{domain}" in named)


def read_roots(arguments: Sequence[str]) -> None:
    """Set the allowed roots from ``--root FOLDER`` after ``streamlit run app.py --``."""
    parser = argparse.ArgumentParser(prog="app.py", add_help=False, allow_abbrev=False)
    parser.add_argument("--root", action="append", type=Path, default=[])
    try:
        given = parser.parse_known_args(list(arguments))[0].root
    except SystemExit:  # argparse has printed the reason to standard error
        raise UsageError("--root takes a folder: streamlit run app.py -- --root FOLDER") from None
    if missing := [root for root in given if not root.is_dir()]:
        raise UsageError(f"--root {missing[0]} is not a folder")
    if given:
        os.environ[ROOTS] = os.pathsep.join(str(root.resolve()) for root in given)


def allowed_roots() -> list[Path] | None:
    """The folders that typed paths must be inside; None if any path may be opened.

    These are the folders in ``RECALLRATE_ROOTS`` (written like PATH) if it is set; else, if the app listens on another
    address than 127.0.0.1, the working folder and the data cache. The app's own folders of runs, uploads and exported
    tables are added.
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
        UsageError: it is outside.
    """
    roots = allowed_roots()
    if roots is None:
        return
    resolved = Path(path).expanduser().resolve()
    if not any(resolved.is_relative_to(root) for root in roots):
        raise UsageError(current()("access.outside", path=path, roots=", ".join(map(str, roots))))


def require_allowed_dataset(spec: str) -> None:
    """Refuse a dataset outside the allowed roots; raises as :func:`require_allowed` does."""
    if spec.startswith("torchvision:"):
        if listens_elsewhere():
            raise UsageError(current()("access.no_downloads"))
    elif spec and spec != "demo":
        require_allowed(split_spec(spec)[0])


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
