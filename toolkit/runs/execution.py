"""Bring a run folder to its result in this process: the one way for all kinds of requests."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from toolkit.foundation.files import write_json
from toolkit.foundation.progress import Progress, silent
from toolkit.runs.environment import attempt_facts
from toolkit.runs.folder import RunFolder, training_slot
from toolkit.runs.reporting import RunReporter
from toolkit.runs.request import Request
from toolkit.runs.usage import usage_recorded

Work = Callable[[RunFolder, RunReporter], dict[str, Any]]
"""As :meth:`~toolkit.runs.request.Request.work`."""


def carry_out_in(
    runs_dir: Path, request: Request, progress: Progress = silent, work: Work | None = None
) -> dict[str, Any]:
    """:func:`carry_out` in the request's folder under ``runs_dir``, which is made where there is none.

    Raises:
        Damaged: the folder is not whole.
    """
    run = request.folder(runs_dir)
    type(request).of(run)
    return carry_out(request, run, progress, work)


def carry_out(
    request: Request, run: RunFolder, progress: Progress = silent, work: Work | None = None
) -> dict[str, Any]:
    """The request's result, from its folder where there is one; what fails is logged there and raised.

    One that is not light waits for a training slot of the folder that ``run`` is in.

    Args:
        request: what to do.
        run: its folder.
        progress: told how far it is, and about waiting.
        work: does the work; by default the request itself.

    Raises:
        UsageError: any part of the request is wrong.
        WorkError: another process is running it, or the work failed.
    """
    if (result := run.result) is not None:
        return run.located(result)
    with nullcontext() if request.light else training_slot(run.path.parent, progress), run.running():
        if (result := run.result) is not None:  # finished by another process while this one waited
            return run.located(result)
        environment = run.path / "environment.json"
        with run.failures_logged(), usage_recorded(environment):
            run.raise_if_cancelled()
            facts = request.facts()
            run.log("started", **facts)
            write_json(environment, attempt_facts(run, request.command()) | facts)
            result = (work or request.work)(run, RunReporter(run, progress))
            write_json(run.result_path, result)
            run.log("finished", **request.finished(run, result))
            return run.located(result)
