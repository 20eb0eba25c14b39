"""Rate limits on guesses at the shared secret: every wrong guess slows further ones, per address and in total."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import threading
from dataclasses import dataclass

LONGEST_WAIT = 15.0
"""Longest wait of a guess for its turn, in seconds; a guess that would wait longer is refused unread."""
FORGOTTEN_AFTER = 3600.0
"""Seconds without a wrong guess after which earlier ones are forgotten."""
LONGEST_ADDRESS_DELAY = 900.0
LONGEST_TOTAL_DELAY = 2.0
"""Longest gap between guesses in seconds, per address and over all; the latter is short, since it delays everybody."""
_FREE_IN_TOTAL = 8
"""Number of wrong guesses over all addresses that delay nobody else."""
_MOST_ADDRESSES = 10_000


@dataclass
class _Record:
    """Number of wrong guesses, and the time at which the next one may be read."""

    wrong: int = 0
    free_at: float = 0.0
    seen: float = 0.0


class Guesses:
    """Schedules guesses; thread-safe.

    A guess takes its turn with :meth:`turn`, waits for the returned time and is then read by :meth:`read`. A turn
    counts as a wrong guess until the guess proves right, so that simultaneous guesses wait for each other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_address: dict[str, _Record] = {}
        self._total = _Record()

    def turn(self, address: str, now: float) -> float | None:
        """Take a turn and return the seconds to wait before :meth:`read`; None if the guess comes too soon to be read.

        Args:
            address: the address of the remote machine.
            now: seconds on a monotonic clock.
        """
        with self._lock:
            self._forget(now)
            record = self._by_address.setdefault(network(address), _Record())
            at = max(now, record.free_at, self._total.free_at)
            if at - now > LONGEST_WAIT:
                return None
            for one, delay in ((record, _address_delay), (self._total, _total_delay)):
                one.wrong, one.seen = one.wrong + 1, now
                one.free_at = at + delay(one.wrong)
            return at - now

    def read(self, address: str, given: str, secret: str) -> bool:
        """Whether a guess that waited for its turn is right; a right one no longer counts as wrong."""
        with self._lock:
            if not hmac.compare_digest(_digest(given), _digest(secret)):
                return False
            self._by_address.pop(network(address), None)
            self._total.wrong = max(0, self._total.wrong - 1)
            return True

    def seconds_left(self, address: str, now: float) -> float:
        """Seconds until a guess from ``address`` would be read."""
        with self._lock:
            record = self._by_address.get(network(address), _Record())
            return max(0.0, record.free_at - now, self._total.free_at - now)

    def _forget(self, now: float) -> None:
        for name, one in list(self._by_address.items()):  # oldest first
            if now - max(one.seen, one.free_at) > FORGOTTEN_AFTER or len(self._by_address) >= _MOST_ADDRESSES:
                del self._by_address[name]
        if now - self._total.seen > FORGOTTEN_AFTER:
            self._total = _Record()


def network(address: str) -> str:
    """The part of an address that is counted: for IPv6 the first 64 bits, which belong to one machine."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def _digest(text: str) -> bytes:
    """A digest of equal length for every text, so that comparing does not reveal the length of the secret."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _address_delay(wrong: int) -> float:
    """1, 2, 4, ... seconds."""
    return min(LONGEST_ADDRESS_DELAY, 2.0 ** min(wrong - 1, 20))


def _total_delay(wrong: int) -> float:
    """0.1, 0.2, 0.3, ... seconds after the free ones."""
    return min(LONGEST_TOTAL_DELAY, 0.1 * max(0, wrong - _FREE_IN_TOTAL))
