"""Durations and counts in the chosen language."""

from __future__ import annotations

from toolkit.ui.components.language import say


def duration(seconds: float) -> str:
    """``45 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 90:
        return say("words.seconds", count=max(1, round(seconds)))
    minutes = round(seconds / 60)
    if minutes < 90:
        return say("words.minutes", count=minutes)
    return say("words.hours", hours=minutes // 60, minutes=minutes % 60)


def count(number: int, noun: str) -> str:
    """``1 run``, ``6 runs``; ``noun`` is a key of the catalogue section ``count``, with a plural in -s."""
    return say(f"count.{noun}" if number == 1 else f"count.{noun}s", count=f"{number:,}")
