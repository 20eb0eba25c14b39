"""Archives uploaded through the app, kept where runs can open them again."""

from __future__ import annotations

import hashlib
import re
import shutil
from io import BufferedReader, BytesIO
from pathlib import Path

from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import default_runs_dir, write_atomically

SUFFIXES = (".zip", ".npz")


def uploads_dir() -> Path:
    """The folder for uploads, next to the runs folder."""
    return default_runs_dir().parent / "uploads"


def keep_upload(name: str, content: BytesIO | BufferedReader) -> Path:
    """Store an uploaded archive under a name derived from its content, so that identical files are stored once.

    Args:
        name: the user's file name; its suffix decides how the archive is opened.
        content: a seekable stream.

    Raises:
        UsageError: neither a .zip nor a .npz.
        WorkError: it cannot be written.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"{name}: expected a .zip or .npz file")
    content.seek(0)
    digest = hashlib.file_digest(content, "sha256").hexdigest()[:16]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(name).stem).strip("-")[:40] or "upload"
    path = uploads_dir() / f"{stem}-{digest}{suffix}"
    if not path.exists():
        content.seek(0)
        write_atomically(path, lambda file: shutil.copyfileobj(content, file))
    return path
