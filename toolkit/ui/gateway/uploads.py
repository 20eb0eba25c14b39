"""How much may be uploaded to a server for others: each file, all that lies in memory, and all that is kept."""

from __future__ import annotations

from typing import cast

from streamlit.runtime import Runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

from toolkit.data.uploads import uploads_dir

MEGABYTE = 1024**2
LARGEST_UPLOAD = 200
"""MB of one file, which lies in memory until it is kept."""
MOST_IN_MEMORY = 1000
"""MB of all uploads at once, those on their way included."""
MOST_KEPT = 20_000
"""MB of the folder of kept uploads; older ones are not deleted, for runs may name them."""


class Uploads:
    """Counts what is on its way; used by one event loop alone."""

    def __init__(self) -> None:
        self.coming = 0

    def why_refused(self, length: str | None) -> tuple[int, str] | None:
        """Status and reason to refuse an upload of so many bytes with, None where it may come.

        Args:
            length: the request's ``Content-Length``.
        """
        if length is None or not length.isdecimal():
            return 411, "an upload must say how long it is"
        size = int(length)
        if size > (LARGEST_UPLOAD + 1) * MEGABYTE:  # a form is a little longer than its file
            return 413, f"an upload may have {LARGEST_UPLOAD} MB"
        if in_memory() + self.coming + size > MOST_IN_MEMORY * MEGABYTE:
            return 413, f"all uploads together may take {MOST_IN_MEMORY} MB of memory: try again later"
        if _kept() + self.coming + size > MOST_KEPT * MEGABYTE:
            return 413, f"the folder of uploads may hold {MOST_KEPT} MB: delete old ones on the server"
        return None


def in_memory() -> int:
    """Bytes of uploads that Streamlit holds."""
    files = cast(MemoryUploadedFileManager, Runtime.instance().uploaded_file_mgr)
    return sum(one.byte_length for found in files.get_stats().values() for one in found)


def _kept() -> int:
    folder = uploads_dir()
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) if folder.is_dir() else 0
