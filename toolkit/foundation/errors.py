"""The two ways in which a command can fail; the command line and the app turn each into one line."""

from __future__ import annotations

from toolkit.foundation.printing import visible


class UsageError(ValueError):
    """The request is invalid: a bad spec, path or size. Nothing has been written (exit status 2)."""


class WorkError(RuntimeError):
    """The request was valid but the work failed: a full disk, a damaged file (exit status 1)."""


def one_line(error: BaseException) -> str:
    """The error's message on a single line, or its type's name when it has none."""
    text = visible(" ".join(str(error).split()))
    return text or type(error).__name__


def quoted(value: object, most: int = 60) -> str:
    """A given value as quoted in a message, cut off if it is long."""
    try:
        text = repr(value[: most + 1] if isinstance(value, str | bytes) else value)
    except (RecursionError, ValueError):  # deeply nested lists, and integers of more than 4300 digits
        text = type(value).__name__
    return text if len(text) <= most else f"{text[:most]}..."


def describe_os_error(error: OSError, action: str, path: object) -> str:
    """``cannot write X: No space left on device``, for the line shown to the user."""
    return f"cannot {action} {path}: {error.strerror or one_line(error)}"


def newer(path: object, what: str, found: object, known: int) -> str:
    """The error message for a file written by a newer version of the toolkit.

    Args:
        path: the file.
        what: the name of its number: ``version``, ``format`` or ``schema``.
        found: the file's number.
        known: the highest number that this version can read.
    """
    return (
        f"{path} was written by a newer version of Recall Rate ({what} {found}, this version reads up to {known}): "
        "update recallrate to open it"
    )
