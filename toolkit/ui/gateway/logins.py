"""Logins: a random token in a cookie, stored here only as a digest, until the login ends or is idle too long."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

IDENTITY = "recallrate_login"
"""Key of a login's name in ``st.user``; Streamlit lets no other login resume a session."""
IDLE_SECONDS = 3600.0
"""Seconds without user activity until a login ends; a page that refreshes itself is not activity."""
LONGEST_SECONDS = 12 * 3600.0
"""Seconds from login to its end, whatever the activity."""


@dataclass(eq=False)
class Login:
    """One browser that has logged in.

    Attributes:
        name: its name for pages and Streamlit sessions; of no use in a cookie.
        began, used: seconds on a monotonic clock.
        sessions: ids of Streamlit sessions.
        closers: one per open socket, called when the login ends, with the address for the page to go to, if any.
    """

    name: str
    began: float
    used: float
    sessions: set[str] = field(default_factory=set)
    closers: set[Callable[[str | None], None]] = field(default_factory=set)

    def seconds_left(self, now: float) -> float:
        """Seconds until it expires; 0 or less if it has."""
        return min(self.used + IDLE_SECONDS, self.began + LONGEST_SECONDS) - now


class Logins:
    """All logins of this server; thread-safe.

    Args:
        clock: seconds on a monotonic clock.
        on_end: called with every login that has ended.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, on_end: Callable[[Login], None] = lambda login: None
    ) -> None:
        self.clock = clock
        self.on_end = on_end
        self._lock = threading.Lock()
        self._by_name: dict[str, Login] = {}

    def begin(self) -> str:
        """A new login's token, for its cookie."""
        token = secrets.token_urlsafe(32)
        now = self.clock()
        self._end_overdue()
        with self._lock:
            name = _name(token)
            self._by_name[name] = Login(name, now, now)
        return token

    def of_token(self, token: str | None) -> Login | None:
        """The login of a cookie's token."""
        return None if not token else self.named(_name(token))

    def named(self, name: str | None) -> Login | None:
        """The login with this name, if it has not ended."""
        with self._lock:
            login = self._by_name.get(name or "")
        if login is not None and login.seconds_left(self.clock()) <= 0:
            self.end(login)
            return None
        return login

    def end(self, login: Login, address: str | None = None) -> None:
        """End a login: its cookie becomes invalid, its sockets close and their pages go to ``address``."""
        with self._lock:
            ended = self._by_name.pop(login.name, None) is not None
        if ended:
            for close in list(login.closers):
                close(address)
            self.on_end(login)

    def _end_overdue(self) -> None:
        with self._lock:
            overdue = [login for login in self._by_name.values() if login.seconds_left(self.clock()) <= 0]
        for login in overdue:
            self.end(login)


def _name(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:32]


LOGINS = Logins()
"""The logins of this process."""
