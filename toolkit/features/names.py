"""Extractor specs. Imports no torch, so that a page can refuse a wrong spec before anything starts."""

from __future__ import annotations

from toolkit.foundation.errors import UsageError
from toolkit.foundation.image_size import WrittenSize
from toolkit.training.network_spec import PRETRAINED, is_large, parse_network

PLAIN = ("auto", "stage0", "self", "random")
WITH_ARGUMENT = ("timm", "checkpoint")


def require_extractor(spec: str) -> None:
    """Refuse an unknown extractor.

    Raises:
        UsageError: unknown extractor.
    """
    kind, _, argument = spec.partition(":")
    if spec in PLAIN:
        return
    if not (kind in WITH_ARGUMENT and argument):
        raise UsageError(f"unknown extractor {spec!r}: choose {', '.join(PLAIN)}, timm:NAME or checkpoint:PATH")
    parse_network(spec)


def resolve_extractor(spec: str, size: WrittenSize) -> str:
    """The extractor that ``auto`` stands for at a size in pixels: pretrained from 96 on, else ``stage0``."""
    if spec != "auto":
        return spec
    return PRETRAINED if is_large(size) else "stage0"
