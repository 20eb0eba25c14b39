"""The two ways a command can fail; the faces turn each into one line and an exit status."""

from __future__ import annotations

from toolkit.foundation.printing import visible


class UsageError(ValueError):
    """The request cannot be right: a bad spec, path or size. Nothing has been written (exit status 2)."""


class WorkError(RuntimeError):
    """The request was right but the work failed: a full disk, a damaged file (exit status 1)."""


def one_line(error: BaseException) -> str:
    """The error's message on a single line, or its type's name when it has none."""
    text = visible(" ".join(str(error).split()))
    return text or type(error).__name__


def quoted(value: object, most: int = 60) -> str:
    """A value given as a message quotes it, cut off where it would fill the line."""
    try:
        text = repr(value[: most + 1] if isinstance(value, str | bytes) else value)
    except (RecursionError, ValueError):  # lists in lists in lists, and whole numbers of more than 4300 digits
        text = type(value).__name__
    return text if len(text) <= most else f"{text[:most]}..."


def describe_os_error(error: OSError, action: str, path: object) -> str:
    """``cannot write X: No space left on device``, for the line a user sees."""
    return f"cannot {action} {path}: {error.strerror or one_line(error)}"


def newer(path: object, what: str, found: object, known: int) -> str:
    """What to say of a file that a newer version of the toolkit has written.

    Args:
        path: the file.
        what: the word for its number: ``version``, ``format`` or ``schema``.
        found: the file's number.
        known: the highest number that this version reads.
    """
    return (
        f"{path} was written by a newer version of Recall Rate ({what} {found}, this one reads up to {known}): "
        "update recallrate to open it"
    )
