"""The files of a bundle and their checksums. Imports no torch, because the app reads bundles too."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, cast

from toolkit.foundation.documents import parse_json, read_file
from toolkit.foundation.errors import UsageError, newer
from toolkit.foundation.files import sha256_of, write_atomically
from toolkit.production.facts import BundleFacts

FORMAT = 1
MANIFEST, MEMORY, NETWORK, MONITOR, CARD = (
    "bundle.json",
    "memory.recall",
    "network.pt",
    "monitor.npz",
    "model_card.md",
)
CODEC_FILES = {"tables": "tables.json", "checkpoint": "codec.npz"}
"""Names in a bundle of the files that a codec spec refers to, by parameter."""
_NEEDED = {MEMORY, NETWORK, MONITOR, CARD}
_KNOWN = _NEEDED | set(CODEC_FILES.values())
STATE = "state"
"""Folder next to the checksummed files for state that changes in use."""


def read_bundle_manifest(path: Path) -> BundleFacts:
    """Check every file of a bundle and return its facts.

    Raises:
        UsageError: not a bundle, a newer format, or a file that has been changed.
    """
    try:
        facts: dict[str, Any] = parse_json(read_file(path / MANIFEST, follow=False))
    except FileNotFoundError:
        raise UsageError(f"{path} is not a bundle: it has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path / MANIFEST} cannot be read: the bundle is damaged") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise UsageError(f"{path / MANIFEST} is not the manifest of a bundle")
    if facts["format"] > FORMAT:
        raise UsageError(newer(path, "format", facts["format"], FORMAT))
    digest = facts.pop("sha256", None)
    if digest != _digest(facts):
        raise UsageError(f"{path / MANIFEST} has been changed since the export: the bundle is refused")
    files = facts.get("files")
    if not isinstance(files, dict) or not _NEEDED <= files.keys() <= _KNOWN:
        raise UsageError(f"{path / MANIFEST} does not list the files of a bundle: the bundle is refused")
    for name in _KNOWN:  # a file that exists but is not listed was added later
        there = path / name
        if name not in files and not there.exists():
            continue
        if not there.is_file() or there.is_symlink() or sha256_of(there) != files.get(name):
            raise UsageError(f"{there} is missing or has been changed: the bundle is refused")
    return cast("BundleFacts", facts)


def reseal(path: Path, facts: BundleFacts) -> None:
    """Recompute the checksums after an intended change."""
    facts["files"] = {name: sha256_of(path / name) for name in sorted(facts["files"])}
    write_manifest(path, facts)


def write_manifest(path: Path, facts: BundleFacts) -> None:
    """Write the facts together with their checksum."""
    text = json.dumps({**facts, "sha256": _digest(facts)}, indent=2, sort_keys=True) + "\n"
    write_atomically(path / MANIFEST, lambda file: file.write(text.encode()))


def _digest(facts: BundleFacts | dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
