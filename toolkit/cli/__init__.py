"""The command line: ``recallrate COMMAND``. No logic here: every command calls one function of a lower package."""

from __future__ import annotations

import sys
import traceback
import warnings

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.printing import visible


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its status: 0 success, 1 failure, 2 wrong usage. ``--debug`` shows tracebacks."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    if not debug:
        warnings.formatwarning = _one_line_warning
    sys.exit(run([argument for argument in arguments if argument != "--debug"], debug))


def _one_line_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning in one line, without the source location."""
    return f"recallrate: warning: {visible(' '.join(str(message).split()))}\n"


def run(arguments: list[str], debug: bool = False) -> int:
    """Run a command and return its exit status."""
    import typer

    from toolkit.cli.commands import app

    try:
        status = app(arguments, prog_name="recallrate", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 0
    except typer.exceptions.TyperException as error:  # typer's own report of wrong options takes four lines
        text = error.format_message()
        if text.startswith("Usage:"):  # a group of commands without a command
            print(text)
        else:
            command = getattr(getattr(error, "ctx", None), "command_path", "recallrate")
            line = visible(" ".join(text.split()))
            print(f"recallrate: {line} (`{command} --help` shows the options)", file=sys.stderr)
        return error.exit_code
    except typer.Abort:
        return 1
    except BrokenPipeError:
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        known = isinstance(error, (UsageError, WorkError, OSError))
        text = one_line(error) if known else f"{type(error).__name__}: {one_line(error)} (--debug shows where)"
        print(f"recallrate: {text}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
