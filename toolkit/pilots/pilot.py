"""Run a pilot from its folder: idempotent, checkpointing, resumable after any kill to the same result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toolkit.data.catalog import load_dataset
from toolkit.foundation.files import write_json
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.seeds import require_distinct
from toolkit.learning.methods import Method, build_method
from toolkit.learning.metrics import summarise
from toolkit.memory.allocation import BudgetTooSmall
from toolkit.memory.store import LABEL_BYTES
from toolkit.pilots.checkpoint import Checkpoint
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.learner import Learner, PilotData, open_memory
from toolkit.pilots.plan import pilot_command
from toolkit.pilots.results import METRICS, aggregate
from toolkit.runs.environment import attempt_facts
from toolkit.runs.folder import RunFolder, carry_out
from toolkit.runs.reporting import RunReporter, Stopwatch
from toolkit.training.device import resolve_device
from toolkit.training.loop import train
from toolkit.training.networks import build_backbone
from toolkit.training.weights import save_network

__all__ = ["METRICS", "aggregate", "check_config", "execute", "run_pilot", "run_seeds"]

CHECKPOINT = "checkpoint.pt"


def run_seeds(config: PilotConfig, seeds: Sequence[int], runs_dir: Path, progress: Progress = silent) -> dict[str, Any]:
    """Run (or resume, or just read) one pilot a seed; the ``pilot`` JSON of the contract.

    Raises:
        UsageError: the configuration does not fit the dataset.
        WorkError: a run failed; the others' results stay.
    """
    require_distinct(seeds)
    check_config(config, progress)
    runs = [run_pilot(config, seed, runs_dir, progress) for seed in seeds]
    return aggregate(config, runs)


def check_config(config: PilotConfig, progress: Progress = silent) -> None:
    """Find what is wrong with a configuration before anything is written.

    Raises:
        UsageError: stages, class order, method, device, network or budget do not fit.
    """
    resolve_device(config.device)
    build_method(config.method)
    if config.network != "auto":
        build_backbone(config.network)
    dataset = load_dataset(config.dataset, config.size, progress=progress)
    data = PilotData.load(config, dataset, 0, progress)
    sizes = np.diff(data.coded_train.ends, prepend=0) + LABEL_BYTES
    largest = [int(sizes[dataset.train.labels == label].max()) for label in range(len(dataset.class_names))]
    smallest = data.codec.shared_bytes() + sum(largest)
    if smallest > data.budget:
        raise BudgetTooSmall(data.budget, smallest, len(largest))


def run_pilot(config: PilotConfig, seed: int, runs_dir: Path, progress: Progress = silent) -> dict[str, Any]:
    """Run one seed in ``runs_dir``, or read its result if it has one; an entry of ``runs`` in the ``pilot`` JSON.

    Waits for the folder's training slot. A run that was killed goes on from its last checkpoint.
    """
    request = {"seed": seed, "config": config.model_dump(mode="json")}
    run = RunFolder.create(Path(runs_dir).resolve() / config.run_name(seed), "pilot", request)
    return execute(run, progress)


def execute(run: RunFolder, progress: Progress = silent) -> dict[str, Any]:
    """Bring a pilot's run folder to its result; what fails is logged there and raised."""
    request = run.config
    return carry_out(run, lambda: _run(run, PilotConfig(**request["config"]), int(request["seed"]), progress), progress)


def _run(run: RunFolder, config: PilotConfig, seed: int, progress: Progress) -> dict[str, Any]:
    device = resolve_device(config.device)
    run.log("started", device=str(device))
    facts = attempt_facts(run, pilot_command(config, [seed]))
    write_json(run.path / "environment.json", facts | {"device": str(device)})
    reporter = RunReporter(run, progress)
    dataset = load_dataset(config.dataset, config.size, progress=reporter.show)
    data = PilotData.load(config, dataset, seed, reporter.show)
    with open_memory(config, data, run.path) as memory:
        learner = Learner(config, data, memory, device, seed)
        checkpoint = Checkpoint.restore(run.path / CHECKPOINT, learner)
        method = build_method(config.method, label_smoothing=config.label_smoothing)
        stopwatch = Stopwatch(checkpoint.seconds)
        while checkpoint.stage < len(data.scenario):
            _run_stage(run, learner, method, checkpoint, reporter, stopwatch)
        result = _result(run, learner, checkpoint)
        save_network(learner.network, learner.network_name, run.path / "network.pt")
    write_json(run.result_path, result)
    (run.path / CHECKPOINT).unlink(missing_ok=True)
    run.log("finished", last_accuracy=result["last_accuracy"], seconds=result["seconds"])
    return result


def _run_stage(
    run: RunFolder, learner: Learner, method: Method, state: Checkpoint, reporter: RunReporter, stopwatch: Stopwatch
) -> None:
    """Train, evaluate and commit one stage, from wherever ``state`` stands; leaves ``state`` at the next stage.

    Training is checkpointed as complete before the memory changes, and the memory's commit is repeatable: a kill
    between the two can neither train on the new memory nor commit twice.
    """
    path, stage = run.path / CHECKPOINT, state.stage
    if not state.trained:
        loss = method.loss_for(learner.network, stage)
        batches = learner.begin_stage(stage)
        recipe = learner.recipe(stage)
        if state.rng is not None:
            torch.set_rng_state(state.rng.cpu())

        def after_step(step: int, value: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
            done, total = stage * recipe.steps + step, len(learner.data.scenario) * recipe.steps
            # reading the loss waits for a GPU: only when it is written
            facts = {"stage": stage, "step": step, "loss": float(value)} if reporter.due(done, total) else {}
            reporter.show("training", done, total, **facts)
            if step % learner.config.checkpoint_every == 0 and step < recipe.steps:
                state.step, state.optimizer, state.rng = step, optimizer.state_dict(), torch.get_rng_state()
                state.seconds = stopwatch.seconds()
                state.save(path, learner)

        train(
            learner.network, batches, recipe, device=learner.device, loss=loss,
            start=state.step, optimizer_state=state.optimizer, after_step=after_step,
        )  # fmt: skip
        state.trained, state.optimizer, state.rng = True, None, None
        state.step = recipe.steps
        state.seconds = stopwatch.seconds()
        state.save(path, learner)
    rows = learner.evaluate(stage)
    learner.commit(stage)
    for name, row in rows.items():
        state.rows[name].append(row)
    state.memory.append({"exemplars": len(learner.memory), "memory_bytes": learner.memory.nbytes})
    state.optimizer_steps += state.step
    state.stage, state.step, state.trained = stage + 1, 0, False
    state.seconds = stopwatch.seconds()
    state.save(path, learner)
    run.log("stage", stage=stage, accuracy=rows, memory=state.memory[-1])


def _result(run: RunFolder, learner: Learner, state: Checkpoint) -> dict[str, Any]:
    """An entry of ``runs`` in the ``pilot`` JSON."""
    scenario, memory = learner.data.scenario, learner.memory
    stage_classes = [len(classes) for classes in scenario.stages]
    tested_on = "coded" if learner.config.align == "both" else "original"
    on = {name: summarise(matrix, stage_classes) for name, matrix in state.rows.items()}
    counts = memory.class_counts
    return {
        "seed": learner.seed,
        "class_order": scenario.order,
        "stage_classes": stage_classes,
        "tested_on": tested_on,
        "accuracy_matrix": state.rows[tested_on],
        **on[tested_on],
        "accuracy_on_original": on["original"]["last_accuracy"],
        "accuracy_on_coded": on["coded"]["last_accuracy"],
        "accuracy_matrix_on_original": state.rows["original"],
        "accuracy_matrix_on_coded": state.rows["coded"],
        "exemplars_per_class": len(memory) / len(counts),
        "exemplars": [counts[label] for label in scenario.order],
        "memory_bytes": memory.nbytes,
        "memory_by_stage": state.memory,
        "budget_bytes": memory.budget,
        "network": learner.network_name,
        "optimizer_steps": state.optimizer_steps,
        "seconds": round(state.seconds, 2),
        "run_dir": run.name,
    }
