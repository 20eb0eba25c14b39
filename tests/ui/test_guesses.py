"""Guesses at the secret slow down, per address and in total; other visitors hardly wait."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from toolkit.ui.gateway import guesses
from toolkit.ui.gateway.guesses import Guesses, network

SECRET = "a shared secret of some length"


def tries(made: Guesses, address: str, given: str, now: float) -> tuple[float | None, bool]:
    """The wait, and whether the guess was right; False if it was not read."""
    wait = made.turn(address, now)
    return wait, wait is not None and made.read(address, given, SECRET)


def test_the_right_secret_is_accepted_at_once_and_leaves_no_record() -> None:
    made = Guesses()
    assert [tries(made, "10.0.0.1", SECRET, now) for now in (0.0, 0.0, 0.0)] == [(0.0, True)] * 3


def test_each_wrong_guess_doubles_the_wait_of_its_address_alone() -> None:
    made = Guesses()
    now, waits = 0.0, []
    for _ in range(5):
        wait, right = tries(made, "10.0.0.1", "wrong", now)
        assert wait is not None
        assert not right
        waits.append(wait)
        now += wait
    assert waits == [0, 1, 2, 4, 8]
    assert tries(made, "10.0.0.1", SECRET, now) == (None, False), "sixteen seconds are not waited for"
    assert made.seconds_left("10.0.0.1", now) == 16
    assert tries(made, "10.0.0.2", SECRET, now) == (0.0, True)
    assert tries(made, "10.0.0.1", SECRET, now + 16) == (0.0, True)
    assert tries(made, "10.0.0.1", "wrong", now + 16) == (0.0, False), "logging in has wiped the slate"


def test_simultaneous_guesses_wait_for_each_other() -> None:
    """Fifteen parallel sessions are read at the pace of one, and so is the right secret after them."""
    made = Guesses()
    together = threading.Barrier(15)

    def session(n: int) -> tuple[float | None, bool]:
        together.wait()
        return tries(made, "10.0.0.1", "wrong", 0.0)

    with ThreadPoolExecutor(15) as pool:
        waits = [wait for wait, _ in pool.map(session, range(15))]
    assert sorted(wait for wait in waits if wait is not None) == [0, 1, 3, 7, 15]
    assert waits.count(None) == 10
    assert tries(made, "10.0.0.1", SECRET, 1.1) == (None, False)


def test_many_addresses_are_slowed_in_total() -> None:
    made = Guesses()
    waits = [made.turn(f"10.0.{n // 250}.{n % 250}", 0.0) for n in range(100)]
    read = [wait for wait in waits if wait is not None]
    assert read[:9] == [0.0] * 9
    assert read == sorted(read)
    assert max(read) <= guesses.LONGEST_WAIT
    assert len(read) < 30, "the others are not read"
    steps = [round(after - before, 6) for before, after in itertools.pairwise(read[8:])]
    assert steps == sorted(steps), "the longer it goes on, the slower"


def test_a_new_address_waits_at_most_two_seconds_for_earlier_guesses() -> None:
    made = Guesses()
    now = 0.0
    for n in range(200):
        now += made.turn(f"10.1.{n // 250}.{n % 250}", now) or 0.0
    wait, right = tries(made, "10.9.9.9", SECRET, now)
    assert wait is not None
    assert (0 < wait <= guesses.LONGEST_TOTAL_DELAY, right) == (True, True)


def test_old_guesses_are_forgotten() -> None:
    made = Guesses()
    for now in (0.0, 1.0, 3.0):
        tries(made, "10.0.0.1", "wrong", now)
    later = 3.0 + guesses.FORGOTTEN_AFTER + 10
    assert tries(made, "10.0.0.1", "wrong", later)[0] == 0
    assert made.seconds_left("10.0.0.1", later) == 1


def test_the_number_of_stored_addresses_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "_MOST_ADDRESSES", 50)
    made = Guesses()
    for n in range(500):
        made.turn(f"10.2.{n // 250}.{n % 250}", 10.0 * n)
    assert len(made._by_address) <= 50


def test_ipv6_addresses_of_one_machine_count_as_one() -> None:
    assert network("2001:db8:1:2::1") == network("2001:db8:1:2:ffff::9") != network("2001:db8:1:3::1")
    assert network("::ffff:10.0.0.1") == network("10.0.0.1")
    assert network("testclient") == "testclient"
