"""What a bundle's folder holds, and whether it is as it was written. No torch here: a page reads bundles too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from toolkit.foundation.documents import parse_json, read_file
from toolkit.foundation.errors import UsageError, newer
from toolkit.foundation.files import sha256_of, write_atomically

FORMAT = 1
MANIFEST, MEMORY, NETWORK, MONITOR, CARD = (
    "bundle.json",
    "memory.recall",
    "network.pt",
    "monitor.npz",
    "model_card.md",
)
CODEC_FILES = {"tables": "tables.json", "checkpoint": "codec.npz"}
"""What the files that a codec's spec names are called in a bundle, by the key that names them."""
_NEEDED = {MEMORY, NETWORK, MONITOR, CARD}
_KNOWN = _NEEDED | set(CODEC_FILES.values())
STATE = "state"
"""Folder beside the checksummed files for what changes while the bundle is used."""


def read_bundle_manifest(path: Path) -> dict[str, Any]:
    """The facts of a bundle after checking every file.

    Raises:
        UsageError: no bundle, a newer one, or one of whose files a byte has changed.
    """
    try:
        facts: dict[str, Any] = parse_json(read_file(path / MANIFEST, follow=False))
    except FileNotFoundError:
        raise UsageError(f"{path} is not a bundle: it has no {MANIFEST}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path / MANIFEST} cannot be read: the bundle is damaged") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("format"), int):
        raise UsageError(f"{path / MANIFEST} is not a bundle's")
    if facts["format"] > FORMAT:
        raise UsageError(newer(path, "format", facts["format"], FORMAT))
    digest = facts.pop("sha256", None)
    if digest != _digest(facts):
        raise UsageError(f"{path / MANIFEST} has been changed since it was written: the bundle is refused")
    files = facts.get("files")
    if not isinstance(files, dict) or not _NEEDED <= files.keys() <= _KNOWN:
        raise UsageError(f"{path / MANIFEST} does not name a bundle's files: the bundle is refused")
    for name in _KNOWN:  # a file that is there but not named has come from elsewhere
        there = path / name
        if name not in files and not there.exists():
            continue
        if not there.is_file() or there.is_symlink() or sha256_of(there) != files.get(name):
            raise UsageError(f"{there} is missing or not as it was written: the bundle is refused")
    return facts


def reseal(path: Path, facts: dict[str, Any]) -> None:
    """Checksum the files anew after one of them has been changed on purpose."""
    facts["files"] = {name: sha256_of(path / name) for name in sorted(facts["files"])}
    write_manifest(path, facts)


def write_manifest(path: Path, facts: Mapping[str, Any]) -> None:
    """Write the facts with their own checksum."""
    text = json.dumps({**facts, "sha256": _digest(facts)}, indent=2, sort_keys=True) + "\n"
    write_atomically(path / MANIFEST, lambda file: file.write(text.encode()))


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
