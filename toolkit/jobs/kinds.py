"""The table of kinds of runs, and the functions that read a run folder in full. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from toolkit.advice.request import AdviceRequest
from toolkit.foundation.errors import WorkError, one_line
from toolkit.foundation.image_size import WrittenSize
from toolkit.jpeg_dl.request import AttackRequest, ExportRequest, JPEGRequest
from toolkit.pilots.request import PilotRequest
from toolkit.probe.contents import ProbeResult
from toolkit.probe.request import ImagesRequest, ProbeRequest
from toolkit.runs.contents import Damaged
from toolkit.runs.folder import RunFolder
from toolkit.runs.request import Request
from toolkit.study.request import StudyRequest

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
        StudyRequest,
    )
}
"""The request class of each kind of run."""
PROBES = frozenset(kind for kind, request in KINDS.items() if issubclass(request, ProbeRequest))
"""Kinds of runs whose result is a probe table."""
LIGHT_KINDS = frozenset(kind for kind, request in KINDS.items() if request.light)
"""Kinds of runs that may run next to a training."""
WAITING_KINDS = frozenset(kind for kind, request in KINDS.items() if request.waits)
"""Kinds of runs that take no slot, since they wait for others."""


def check(run: RunFolder) -> None:
    """Read and check all of a run folder; for an unknown kind, only the parts common to all kinds.

    Raises:
        Damaged: a part of it was not written by the toolkit.
        Newer: a newer version of the toolkit wrote it.
    """
    run.check()
    if run.config["kind"] in KINDS:
        request_of(run)


def request_of(run: RunFolder) -> Request:
    """The request of an undamaged run folder.

    Raises:
        Damaged: a part of it was not written by the toolkit.
        Newer: a newer version of the toolkit wrote it.
    """
    kind = run.config["kind"]
    if kind not in KINDS:
        raise Damaged(f"{run.name} is damaged: config.json: kind must be one of {', '.join(KINDS)}, got {kind}")
    return KINDS[kind].of(run)


def probes_of(runs: Sequence[RunFolder], dataset: str, size: WrittenSize) -> dict[str, RunFolder]:
    """Probes and advice among ``runs`` for one dataset (absolute path) and size, by name, in the same order.

    Damaged runs are skipped.
    """
    found = {}
    for run in runs:
        with suppress(WorkError):  # the list of runs shows the reason
            if run.config["kind"] in PROBES:
                request = probe_of(run)
                if (request.dataset, request.size) == (dataset, size):
                    found[run.name] = run
    return found


def newest_probe(runs: Sequence[RunFolder], dataset: str, size: WrittenSize) -> tuple[str, ProbeResult] | None:
    """Name and result of the first finished one of :func:`probes_of`; None if there is none."""
    for name, run in probes_of(runs, dataset, size).items():
        if (result := probe_of(run).result_in(run)) is not None:
            return name, result
    return None


def probe_of(run: RunFolder) -> ProbeRequest:
    """:func:`request_of` for a probe or advice."""
    request = request_of(run)
    assert isinstance(request, ProbeRequest)
    return request


def sorted_out(runs: Sequence[RunFolder]) -> tuple[list[tuple[RunFolder, Request]], dict[str, str]]:
    """Undamaged runs with their requests, and the errors of the others by name."""
    whole, problems = [], {}
    for run in runs:
        try:
            whole.append((run, request_of(run)))
        except WorkError as error:
            problems[run.shown_name] = one_line(error)
    return whole, problems
