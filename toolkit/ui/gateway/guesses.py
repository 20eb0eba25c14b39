"""Guesses at the shared secret, made slower by every wrong one: by address, and in total."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import threading
from dataclasses import dataclass

LONGEST_WAIT = 15.0
"""Seconds that a guess waits for its turn; one that would wait longer is refused, unread."""
FORGOTTEN_AFTER = 3600.0
"""Seconds without another wrong guess until those before are forgotten."""
LONGEST_ADDRESS_DELAY = 900.0
LONGEST_TOTAL_DELAY = 2.0
"""Seconds between two guesses at most: of one address, and of all; the second is short, for it holds up everybody."""
_FREE_IN_TOTAL = 8
"""Wrong guesses of all addresses that hold nobody else up."""
_MOST_ADDRESSES = 10_000


@dataclass
class _Record:
    """Wrong guesses, and when the next one may be read."""

    wrong: int = 0
    free_at: float = 0.0
    seen: float = 0.0


class Guesses:
    """Who may try when; safe between threads.

    A guess takes its turn with :meth:`turn`, waits for as long as that says and is read by :meth:`read`. The turn
    counts as a wrong guess until it has been found right, so that guesses made at the same time wait for each other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_address: dict[str, _Record] = {}
        self._total = _Record()

    def turn(self, address: str, now: float) -> float | None:
        """Take a turn; seconds to wait before :meth:`read`, None where the guess comes too soon to be read at all.

        Args:
            address: of the other machine.
            now: seconds on a clock that never goes back.
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
        """Whether a guess that has waited for its turn is right; a right one is taken off the count."""
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
        for name, one in list(self._by_address.items()):  # in the order in which they came
            if now - max(one.seen, one.free_at) > FORGOTTEN_AFTER or len(self._by_address) >= _MOST_ADDRESSES:
                del self._by_address[name]
        if now - self._total.seen > FORGOTTEN_AFTER:
            self._total = _Record()


def network(address: str) -> str:
    """What counts as one address: of IPv6 the first 64 bits, which one machine has all to itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def _digest(text: str) -> bytes:
    """As long for every text, so that comparing tells nothing of the secret's length either."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _address_delay(wrong: int) -> float:
    """1, 2, 4, ... seconds."""
    return min(LONGEST_ADDRESS_DELAY, 2.0 ** min(wrong - 1, 20))


def _total_delay(wrong: int) -> float:
    """0.1, 0.2, 0.3, ... seconds after the free ones."""
    return min(LONGEST_TOTAL_DELAY, 0.1 * max(0, wrong - _FREE_IN_TOTAL))
