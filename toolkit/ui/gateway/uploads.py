"""Limits on uploads to a shared server: per file, in memory, and in the folder of saved uploads."""

from __future__ import annotations

from typing import cast

from streamlit.runtime import Runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

from toolkit.data.uploads import uploads_dir

MEGABYTE = 1024**2
LARGEST_UPLOAD = 200
"""MB per file, which is in memory until it is saved."""
MOST_IN_MEMORY = 1000
"""MB of all uploads at once, including those in transfer."""
MOST_KEPT = 20_000
"""MB in the folder of saved uploads; old ones are not deleted, because runs may refer to them."""


class Uploads:
    """Counts the bytes in transfer; for use in a single event loop."""

    def __init__(self) -> None:
        self.coming = 0

    def why_refused(self, length: str | None) -> tuple[int, str] | None:
        """Status and reason for refusing an upload of this length; None if it is accepted.

        Args:
            length: the request's ``Content-Length``.
        """
        if length is None or not length.isdecimal():
            return 411, "an upload must state its length"
        size = int(length)
        if size > (LARGEST_UPLOAD + 1) * MEGABYTE:  # the form is slightly longer than its file
            return 413, f"an upload may have at most {LARGEST_UPLOAD} MB"
        if in_memory() + self.coming + size > MOST_IN_MEMORY * MEGABYTE:
            return 413, f"all uploads together may take at most {MOST_IN_MEMORY} MB of memory: try again later"
        if _kept() + self.coming + size > MOST_KEPT * MEGABYTE:
            return 413, f"the folder of uploads may hold at most {MOST_KEPT} MB: delete old ones on the server"
        return None


def in_memory() -> int:
    """Bytes of uploads held by Streamlit."""
    files = cast(MemoryUploadedFileManager, Runtime.instance().uploaded_file_mgr)
    return sum(one.byte_length for found in files.get_stats().values() for one in found)


def _kept() -> int:
    folder = uploads_dir()
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) if folder.is_dir() else 0
