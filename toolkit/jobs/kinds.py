"""The one table of kinds of runs, and the one way to read a run folder in full. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from toolkit.advice.request import AdviceRequest
from toolkit.foundation.errors import WorkError, one_line
from toolkit.jpeg_dl.request import AttackRequest, ExportRequest, JPEGRequest
from toolkit.pilots.request import PilotRequest
from toolkit.probe.request import ImagesRequest, ProbeRequest
from toolkit.runs.contents import Damaged
from toolkit.runs.folder import RunFolder
from toolkit.runs.request import Request

KINDS: Mapping[str, type[Request]] = {
    request.kind: request
    for request in (
        PilotRequest,
        JPEGRequest,
        ProbeRequest,
        AdviceRequest,
        ImagesRequest,
        AttackRequest,
        ExportRequest,
    )
}
"""What a run can be asked to do, by its kind."""
PROBES = frozenset(kind for kind, request in KINDS.items() if issubclass(request, ProbeRequest))
"""What makes a probe table."""
LIGHT_KINDS = frozenset(kind for kind, request in KINDS.items() if request.light)
"""What runs beside a training."""


def check(run: RunFolder) -> None:
    """Read everything in a run folder that anybody relies on; of a kind that is not known, what all have in common.

    Raises:
        Damaged: a part of it is not what the toolkit writes.
        Newer: it is from a newer version of the toolkit.
    """
    run.check()
    if run.config["kind"] in KINDS:
        request_of(run)


def request_of(run: RunFolder) -> Request:
    """The request of a run folder that is whole.

    Raises:
        Damaged: a part of it is not what the toolkit writes.
        Newer: it is from a newer version of the toolkit.
    """
    kind = run.config["kind"]
    if kind not in KINDS:
        raise Damaged(f"{run.name} is damaged: config.json: its kind must be one of {', '.join(KINDS)}, got {kind}")
    return KINDS[kind].of(run)


def probes_of(runs: Sequence[RunFolder], dataset: str, size: int) -> dict[str, RunFolder]:
    """The probes and advice among ``runs`` of one dataset (its path absolute) and size, by name, in the same order.

    Those that are not whole are passed over.
    """
    found = {}
    for run in runs:
        with suppress(WorkError):  # the list of runs says what is wrong with it
            if run.config["kind"] in PROBES:
                request = probe_of(run)
                if (request.dataset, request.size) == (dataset, size):
                    found[run.name] = run
    return found


def probe_of(run: RunFolder) -> ProbeRequest:
    """:func:`request_of` a probe or advice."""
    request = request_of(run)
    assert isinstance(request, ProbeRequest)
    return request


def sorted_out(runs: Sequence[RunFolder]) -> tuple[list[tuple[RunFolder, Request]], dict[str, str]]:
    """Runs that are whole, with their requests, and what is wrong with the others, by name."""
    whole, problems = [], {}
    for run in runs:
        try:
            whole.append((run, request_of(run)))
        except WorkError as error:
            problems[run.shown_name] = one_line(error)
    return whole, problems
