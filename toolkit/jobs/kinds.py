"""All kinds of runs: what a worker carries out, and the one way to read a run folder in full. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

from toolkit.advice.request import AdviceRequest
from toolkit.foundation.errors import WorkError, one_line
from toolkit.jpeg_dl import request as jpeg_request
from toolkit.jpeg_dl.results import read_training
from toolkit.pilots.results import read_pilot
from toolkit.probe.contents import Setting
from toolkit.probe.request import ImagesRequest, ProbeRequest
from toolkit.runs.contents import require
from toolkit.runs.folder import RunFolder
from toolkit.runs.request import Request, read_request, request_from

PROBES: Mapping[str, type[ProbeRequest]] = {"probe": ProbeRequest, "advise": AdviceRequest}
"""What makes a probe table, by the kind of its run."""
REQUESTS: Mapping[str, type[Request]] = {**PROBES, "images": ImagesRequest, **jpeg_request.REQUESTS}
"""By the kind of their run."""
LIGHT_KINDS = frozenset(kind for kind, request in REQUESTS.items() if request.light)
"""What runs beside a training."""


def request_of(config: Mapping[str, Any]) -> ProbeRequest:
    """The probe or advice that a run folder's configuration holds."""
    return cast(ProbeRequest, request_from(PROBES, config))


def read_probe(run: RunFolder) -> ProbeRequest:
    """The request of a run folder with a probe or advice that is whole, rows found so far included.

    Raises:
        Damaged: a part of it is not what the toolkit writes.
        Newer: it is from a newer version of the toolkit.
    """
    request = cast(ProbeRequest, read_request(PROBES, run))
    if run.result is None:
        for part in run.found():
            require(Setting, part, run.path / "events.jsonl")
    return request


def probes_of(runs: Sequence[RunFolder], dataset: str, size: int) -> dict[str, RunFolder]:
    """The probes and advice among ``runs`` of one dataset (its path absolute) and size, by name, in the same order.

    Those that are not whole are passed over.
    """
    found = {}
    for run in runs:
        if run.config["kind"] in PROBES:
            with suppress(WorkError):  # the list of runs says what is wrong with it
                request = read_probe(run)
                if (request.dataset, request.size) == (dataset, size):
                    found[run.name] = run
    return found


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
