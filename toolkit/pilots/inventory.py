"""Which runs of a folder are whole, whatever their kind, and what is wrong with the others. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from toolkit.foundation.errors import WorkError, one_line
from toolkit.jpeg_dl.results import read_training
from toolkit.pilots.requests import REQUESTS
from toolkit.pilots.results import read_pilot
from toolkit.probe.request import PROBES, read_probe
from toolkit.runs.folder import RunFolder
from toolkit.runs.request import read_request

READERS: Mapping[str, Callable[[RunFolder], object]] = {
    "pilot": read_pilot,
    "jpeg": read_training,
    **dict.fromkeys(REQUESTS, partial(read_request, REQUESTS)),
    **dict.fromkeys(PROBES, read_probe),
}
"""What reads a folder in full, by the kind of its run."""


def check(run: RunFolder) -> None:
    """Read everything in a run folder that anybody relies on.

    Raises:
        Damaged: a part of it is not what the toolkit writes.
        Newer: it is from a newer version of the toolkit.
    """
    run.check()
    if (read := READERS.get(run.config["kind"])) is not None:
        read(run)


def sorted_out(runs: Sequence[RunFolder]) -> tuple[list[RunFolder], dict[str, str]]:
    """Runs that are whole, and what is wrong with the others, by name."""
    whole, problems = [], {}
    for run in runs:
        try:
            check(run)
            whole.append(run)
        except WorkError as error:
            problems[run.shown_name] = one_line(error)
    return whole, problems
