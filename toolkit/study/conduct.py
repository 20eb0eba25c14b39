"""Carry out a study: probe, rounds, decision, test. Every part of the work is a run of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

from toolkit.advice.contents import AdviceResult
from toolkit.foundation.errors import WorkError
from toolkit.pilots.request import PilotRequest
from toolkit.runs.folder import Cancelled, RunFolder
from toolkit.runs.follow import follow, supervised
from toolkit.runs.reporting import RunReporter
from toolkit.runs.start import start_pending
from toolkit.runs.supervision import Settings
from toolkit.study.contents import LeftOut, StudyResult, TestResult
from toolkit.study.line_up import Arm
from toolkit.study.plan import Start, StudyPlan
from toolkit.study.so_far import SoFar, look, on_images

_LOOK_SECONDS = 0.25
"""Seconds between looks, so that a cancelled study cancels its pilots before it is ended."""
_BEATEN = "another lossless setting keeps as many exemplars of the same pixels or more, in fewer bytes"


def in_queue(
    runs: Sequence[RunFolder], runs_dir: Path, *, reporter: RunReporter, settings: Settings | None = None
) -> None:
    """Queue runs in their folder and wait until all have ended.

    Raises:
        Cancelled: the study was cancelled; so are the runs then.
        WorkError: the supervisor was stopped.
    """
    queued = start_pending(runs, runs_dir, settings)
    try:
        follow(runs, supervised(runs_dir, settings), reporter.show, _LOOK_SECONDS)
    except Cancelled:
        for run in queued:  # not those that others had queued
            if run.status() in ("queued", "running") and len(run.origin.get("sweeps", [])) <= 1:
                run.request_cancel()
        raise


def conduct(plan: StudyPlan, run: RunFolder, reporter: RunReporter, start: Start | None = None) -> StudyResult:
    """The ``study`` JSON.

    Args:
        plan: the study.
        run: its folder; its pilots are in the folder that contains it.
        reporter: receives the progress.
        start: queues runs and waits until all have ended; by default in the queue of the runs' folder.

    Raises:
        WorkError: the probe failed, a pilot was cancelled, or the time was used up before any arm had two seeds.
    """
    return _Conductor(plan, run, start or partial(in_queue, reporter=reporter)).work()


class _Conductor:
    """A study while it runs."""

    def __init__(self, plan: StudyPlan, run: RunFolder, start: Start) -> None:
        self._plan = plan
        self._run = run
        self._runs_dir = run.path.parent
        self._start = start
        self._began = time.monotonic() - spent(run)

    def work(self) -> StudyResult:
        plan = self._plan
        advice, advice_name = self._probed()
        self._try_again(look(plan, self._runs_dir, advice))
        stopped: str | None = None
        while wanted := (so_far := look(plan, self._runs_dir, advice)).standing.wanted:
            if (hours := plan.choices.hours) is not None and self._seconds() > 3600 * hours:
                stopped = f"{hours:g} h were used up with {len(wanted)} pilots of round {wanted[0].seed + 1} left"
                break
            self._carry_out([plan.pilot(so_far.line.arms[arm], seed) for arm, seed in wanted])
        decision = so_far.decision
        if decision is None:
            first = next(iter(so_far.errors.values()), None)
            why = stopped or (f"a pilot failed: {first}" if first else "no setting could start")
            raise WorkError(f"no decision, since no setting has two finished seeds: {why}")
        left_out: list[LeftOut] = [{"codec": one["codec"], "reason": one["reason"]} for one in advice["excluded"]]
        left_out += [{"codec": codec, "reason": _BEATEN} for codec in so_far.line.beaten]
        return {
            "config": plan.config.model_dump(mode="json", exclude={"codec", "align"}),
            "effort": plan.choices.effort,
            "budget_bytes": advice["budget_bytes"],
            "advice": advice_name,
            "arms": so_far.rows(),
            "not_tried": left_out,
            "rounds": so_far.rounds(),
            "decision": decision,
            "test": None if stopped else self._tested(so_far, Arm(decision["codec"], decision["align"])),
            "stopped": stopped,
            "seconds": self._seconds(),
        }

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _probed(self) -> tuple[AdviceResult, str]:
        """The result of the probe and the name of its run; carried out if it does not exist yet."""
        wanted = self._plan.advice()
        run = wanted.folder(self._runs_dir)
        if wanted.result_in(run) is None:
            self._start([run], self._runs_dir)
        if (result := wanted.result_in(run)) is None:
            raise WorkError(f"the probe {run.name} is {run.status()}: {run.error() or 'the same command goes on'}")
        return cast(AdviceResult, result), run.name

    def _carry_out(self, pilots: Sequence[PilotRequest], again: bool = False) -> list[RunFolder]:
        """Carry out pilots, ``again`` also those that failed before; returns their folders, also of those that fail.

        Raises:
            WorkError: one was cancelled or lost.
        """
        runs = [one.folder(self._runs_dir) for one in pilots]
        for run in runs:
            run.join_sweep(self._run.name)
        self._start([run for run in runs if again or run.status() != "failed"], self._runs_dir)
        for run in runs:
            if (status := run.status()) not in ("done", "failed"):
                raise WorkError(f"{run.name} is {status}: the same command goes on")
        return runs

    def _try_again(self, so_far: SoFar) -> None:
        """Carry out pilots once more that failed before this attempt, since a cause such as a full disk may be gone."""
        failed = [pilot.folder(self._runs_dir) for pilot in so_far.failed()]
        if failed:
            self._start(failed, self._runs_dir)

    def _tested(self, so_far: SoFar, chosen: Arm) -> TestResult:
        """The decision and the references on the test images; references that fail are left out.

        Raises:
            WorkError: the decision's pilot fails.
        """
        plan = self._plan
        others = [so_far.line.arms[arm] for arm in so_far.line.references]
        arms = list(dict.fromkeys([chosen, *others]))
        pilots = [plan.pilot(arm, plan.test_seed, held_out=False) for arm in arms]
        found = {}
        for arm, pilot, run in zip(arms, pilots, self._carry_out(pilots, again=True), strict=True):
            if (result := pilot.result_in(run)) is not None:
                found[arm] = (run.name, result)
        if chosen not in found:
            run = pilots[0].folder(self._runs_dir)
            raise WorkError(f"{run.name}, which tests the decision, is {run.status()}: {run.error() or ''}")
        images = found[chosen][1].get("test_images", 0)
        return {"seed": plan.test_seed, "images": images, "arms": on_images(found)}


def spent(run: RunFolder) -> float:
    """Seconds that earlier attempts of a run took, until their last progress."""
    total, began, last = 0.0, None, 0.0
    for event in run.events():
        if event["event"] == "started":
            total += last - began if began is not None else 0.0
            began = last = event["time"]
        elif event["event"] == "progress":
            last = event["time"]
    return total
