"""Extractor specs. Imports no torch, so that a page can refuse a wrong spec before anything starts."""

from __future__ import annotations

from toolkit.foundation.errors import UsageError

PLAIN = ("auto", "stage0", "self", "random")
WITH_ARGUMENT = ("timm", "checkpoint")


def require_extractor(spec: str) -> None:
    """Refuse an unknown extractor.

    Raises:
        UsageError: unknown extractor.
    """
    kind, _, argument = spec.partition(":")
    if spec not in PLAIN and not (kind in WITH_ARGUMENT and argument):
        raise UsageError(f"unknown extractor {spec!r}: choose {', '.join(PLAIN)}, timm:NAME or checkpoint:PATH")
