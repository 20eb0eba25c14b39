"""Carry out a request of any kind in its run folder, in this process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from toolkit.foundation.files import write_json
from toolkit.foundation.progress import Progress, silent
from toolkit.runs.environment import attempt_facts
from toolkit.runs.folder import RunFolder, training_slot
from toolkit.runs.reporting import RunReporter
from toolkit.runs.request import Outcome, Request
from toolkit.runs.usage import usage_recorded

Work = Callable[[RunFolder, RunReporter], Outcome]
"""Signature of :meth:`~toolkit.runs.request.Request.work`."""


def carry_out_in(
    runs_dir: Path, request: Request[Outcome], progress: Progress = silent, work: Work[Outcome] | None = None
) -> Outcome:
    """:func:`carry_out` in the request's folder under ``runs_dir``, created if it does not exist.

    Raises:
        Damaged: the folder is damaged.
    """
    run = request.folder(runs_dir)
    type(request).of(run)
    return carry_out(request, run, progress, work)


def carry_out(
    request: Request[Outcome], run: RunFolder, progress: Progress = silent, work: Work[Outcome] | None = None
) -> Outcome:
    """The request's result, read from its folder if it is finished; a failure is logged in the folder and raised.

    A request that is not light waits for a training slot of the folder that contains ``run``.

    Args:
        request: what to do.
        run: its folder.
        progress: receives the progress, also of waiting.
        work: does the work; by default the request itself.

    Raises:
        UsageError: any part of the request is wrong.
        WorkError: another process is running it, or the work failed.
    """
    if (stored := request.result_in(run)) is not None:
        return stored
    with nullcontext() if request.light else training_slot(run.path.parent, progress), run.running():
        if (stored := request.result_in(run)) is not None:  # finished by another process while this one waited
            return stored
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
