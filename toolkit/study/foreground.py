"""Carry out a study and wait for its decision."""

from __future__ import annotations

from pathlib import Path

from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.image_size import WrittenSize
from toolkit.foundation.progress import Progress, silent
from toolkit.runs.execution import carry_out_in
from toolkit.study.contents import StudyResult
from toolkit.study.plan import StudyChoices
from toolkit.study.request import make_study


def run_study(
    dataset: str,
    size: WrittenSize | None = None,
    budget: str = "",
    *,
    choices: StudyChoices | None = None,
    runs_dir: Path | None = None,
    progress: Progress = silent,
    **pilot: object,
) -> StudyResult:
    """Run, resume or just read a study, and return the ``study`` JSON.

    The probe and the pilots run in the background, in the queue of ``runs_dir``.

    Args:
        dataset: a dataset's spec, such as ``demo`` or a folder.
        size: of the images in pixels; by default their shorter side, 224 at most.
        budget: bytes of the memory, such as ``1MB`` or ``4img``; by default
            :func:`~toolkit.study.request.study_budget`.
        choices: who may start, how many run, and what decides.
        runs_dir: the folder of run folders; by default the one of the app and the commands.
        progress: receives the progress.
        pilot: further fields of the pilots, see :class:`~toolkit.pilots.config.PilotConfig`.

    Raises:
        UsageError: a value is wrong, or the dataset cannot be used.
        WorkError: the dataset cannot be read, the probe failed, the supervisor was stopped, or no setting has two
            finished seeds.
    """
    request = make_study(dataset, size, budget, choices=choices, progress=progress, **pilot)
    return carry_out_in(runs_dir or default_runs_dir(), request, progress)
