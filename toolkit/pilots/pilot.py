"""Run a pilot from its folder: idempotent, checkpointing, resumable after any kill to the same result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toolkit.data.catalog import load_dataset
from toolkit.features.names import require_extractor
from toolkit.foundation.files import write_json
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.seeds import derive, require_distinct
from toolkit.learning.catalog import parse_method
from toolkit.learning.methods import build_method
from toolkit.learning.metrics import last_accuracy, summarise
from toolkit.memory.allocation import BudgetTooSmall
from toolkit.memory.budget import LABEL_BYTES
from toolkit.pilots.checkpoint import Checkpoint
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.learner import Learner, PilotData, open_pilot_memory
from toolkit.pilots.plan import pilot_command
from toolkit.pilots.results import METRICS, aggregate_pilots, read_pilot
from toolkit.runs.environment import attempt_facts
from toolkit.runs.execution import carry_out
from toolkit.runs.folder import RunFolder
from toolkit.runs.reporting import RunReporter, Stopwatch
from toolkit.training.device import peak_device_memory_bytes, random_state, resolve_device, set_random_state
from toolkit.training.loop import train
from toolkit.training.networks import build_backbone, default_network
from toolkit.training.weights import save_network

__all__ = ["METRICS", "aggregate_pilots", "check_config", "execute_pilot", "run_pilot", "run_seeds"]

CHECKPOINT = "checkpoint.pt"


def run_seeds(config: PilotConfig, seeds: Sequence[int], runs_dir: Path, progress: Progress = silent) -> dict[str, Any]:
    """Run (or resume, or just read) one pilot a seed; the ``pilot`` JSON of the contract.

    Raises:
        UsageError: the configuration does not fit the dataset.
        WorkError: a run failed; the others' results stay.
    """
    require_distinct(seeds)
    check_config(config, progress, seeds[0] if seeds else 0)
    runs = [run_pilot(config, seed, runs_dir, progress) for seed in seeds]
    return aggregate_pilots(config, runs)


def check_config(config: PilotConfig, progress: Progress = silent, seed: int = 0) -> None:
    """Find what is wrong with a configuration before anything is written; ``seed`` is one that it will run with.

    Raises:
        UsageError: stages, class order, method, device, network, extractor or budget do not fit.
    """
    device = resolve_device(config.device)
    dataset = load_dataset(config.dataset, config.size, progress=progress)
    data = PilotData.load(config, dataset, seed, progress)
    charged = _charged_bytes(config, data, device)
    kind, _ = parse_method(config.method)
    if not kind.exemplars:
        return
    method = build_method(config.method)
    sizes = np.diff(data.coded_train.ends, prepend=0) + LABEL_BYTES
    largest = 0
    for stage, classes in enumerate(data.scenario.stages):
        extra = method.extra_bytes(data.stage(stage).total)
        largest += sum(int(sizes[dataset.train.labels == label].max()) + extra for label in classes)
    smallest = data.codec.shared_bytes() + largest + charged
    if smallest > data.budget:
        raise BudgetTooSmall(data.budget, smallest, len(dataset.class_names))


def _charged_bytes(config: PilotConfig, data: PilotData, device: torch.device) -> int:
    """Bytes of weights that the budget pays for in the end, by taking an untrained network through all stages."""
    method = build_method(config.method)
    kind, _ = parse_method(config.method)
    if kind.frozen:
        require_extractor(config.extractor)
        return 0
    name = default_network(device) if config.network == "auto" else config.network
    network = method.build(lambda: build_backbone(name), data.stage(0).total, (0.5,) * 3, (0.25,) * 3)
    for stage in range(len(data.scenario)):
        network = method.finish(method.begin(network, data.stage(stage)), data.stage(stage))
    return method.weights_bytes(network)


def run_pilot(config: PilotConfig, seed: int, runs_dir: Path, progress: Progress = silent) -> dict[str, Any]:
    """Run one seed in ``runs_dir``, or read its result if it has one; an entry of ``runs`` in the ``pilot`` JSON.

    Waits for the folder's training slot. A run that was killed goes on from its last checkpoint.
    """
    request = {"seed": seed, "config": config.model_dump(mode="json")}
    run = RunFolder.create(Path(runs_dir).resolve() / config.run_name(seed), "pilot", request)
    return execute_pilot(run, progress)


def execute_pilot(run: RunFolder, progress: Progress = silent) -> dict[str, Any]:
    """Bring a pilot's run folder to its result; what fails is logged there and raised."""
    config, seed, _ = read_pilot(run)
    return run.located(carry_out(run, lambda: _run(run, config, seed, progress), progress))


def _run(run: RunFolder, config: PilotConfig, seed: int, progress: Progress) -> dict[str, Any]:
    device = resolve_device(config.device)
    run.log("started", device=str(device))
    facts = attempt_facts(run, pilot_command(config, [seed]))
    write_json(run.path / "environment.json", facts | {"device": str(device)})
    reporter = RunReporter(run, progress)
    dataset = load_dataset(config.dataset, config.size, progress=reporter.show)
    data = PilotData.load(config, dataset, seed, reporter.show)
    with open_pilot_memory(config, data, run.path) as memory:
        learner = Learner(config, data, memory, device, seed, reporter.show)
        checkpoint = Checkpoint.restore(run.path / CHECKPOINT, learner)
        stopwatch = Stopwatch(checkpoint.seconds)
        while checkpoint.stage < len(data.scenario):
            _run_stage(run, learner, checkpoint, reporter, stopwatch)
        result = _result(run, learner, checkpoint)
        save_network(learner.network, learner.network_name, run.path / "network.pt", method=config.method)
    write_json(run.result_path, result)
    (run.path / CHECKPOINT).unlink(missing_ok=True)
    run.log("finished", last_accuracy=result["last_accuracy"], seconds=result["seconds"])
    return result


def _run_stage(
    run: RunFolder, learner: Learner, state: Checkpoint, reporter: RunReporter, stopwatch: Stopwatch
) -> None:
    """Train, commit and evaluate one stage, from wherever ``state`` stands; leaves ``state`` at the next stage.

    Training is checkpointed as complete before the memory changes, and the memory's commit is repeatable: a kill
    between the two can neither train on the new memory nor commit twice.
    """
    path, stage = run.path / CHECKPOINT, state.stage
    if not state.trained:
        _train_stage(path, learner, state, reporter, stopwatch)
    learner.commit(stage)
    rows = learner.evaluate(stage)
    for head, by_images in rows.items():
        for images, row in by_images.items():
            state.rows.setdefault(head, {}).setdefault(images, []).append(row)
    state.memory.append({"exemplars": len(learner.memory), "memory_bytes": learner.memory.nbytes})
    state.stage, state.phase, state.step, state.trained = stage + 1, 0, 0, False
    state.seconds = stopwatch.seconds()
    state.save(path, learner)
    run.log("stage", stage=stage, accuracy=rows[learner.method.heads[0]], memory=state.memory[-1])


def _train_stage(path: Path, learner: Learner, state: Checkpoint, reporter: RunReporter, stopwatch: Stopwatch) -> None:
    """Train the phases of a stage that are left, checkpointing at ``path``."""
    stage = state.stage
    if not state.begun:
        learner.begin(stage)
    phases = learner.phases(stage)
    recipes = learner.recipes(stage, phases)
    total = state.optimizer_steps + sum(recipe.steps for recipe in recipes[state.phase :])
    total += sum(learner.recipe(later).steps for later in range(stage + 1, len(learner.data.scenario)))

    def after_step(step: int, value: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        done = state.optimizer_steps + step
        # reading the loss waits for a GPU: only when it is written
        facts = {"stage": stage, "step": step, "loss": float(value)} if reporter.due(done, total) else {}
        reporter.show("training", done, total, **facts)
        if step % learner.config.checkpoint_every == 0 and step < recipes[state.phase].steps:
            state.step, state.optimizer, state.rng = step, optimizer.state_dict(), random_state(learner.device)
            state.seconds = stopwatch.seconds()
            state.save(path, learner)

    while state.phase < len(phases):
        phase, recipe = phases[state.phase], recipes[state.phase]
        phase.prepare()
        if state.rng is None:
            torch.manual_seed(derive(learner.seed, 4, stage, state.phase))
        else:
            set_random_state(state.rng)
        train(
            phase.network,
            learner.batches(stage, state.phase, phase),
            recipe,
            device=learner.device,
            loss=phase.loss,
            start=state.step,
            optimizer_state=state.optimizer,
            after_step=after_step,
        )
        state.optimizer_steps += recipe.steps
        state.phase, state.step, state.optimizer, state.rng = state.phase + 1, 0, None, None
        if state.phase < len(phases):
            state.seconds = stopwatch.seconds()
            state.save(path, learner)
    learner.finish(stage)
    state.trained = True
    state.seconds = stopwatch.seconds()
    state.save(path, learner)


def _head_result(rows: dict[str, list[list[float]]], tested_on: str, stage_classes: Sequence[int]) -> dict[str, Any]:
    """What one head achieved."""
    return {
        "accuracy_matrix": rows[tested_on],
        **summarise(rows[tested_on], stage_classes),
        "accuracy_on_original": last_accuracy(rows["original"], stage_classes),
        "accuracy_on_coded": last_accuracy(rows["coded"], stage_classes),
        "accuracy_matrix_on_original": rows["original"],
        "accuracy_matrix_on_coded": rows["coded"],
    }


def _result(run: RunFolder, learner: Learner, state: Checkpoint) -> dict[str, Any]:
    """An entry of ``runs`` in the ``pilot`` JSON."""
    scenario, memory = learner.data.scenario, learner.memory
    stage_classes = [len(classes) for classes in scenario.stages]
    tested_on = "coded" if learner.config.align == "both" else "original"
    heads = {head: _head_result(rows, tested_on, stage_classes) for head, rows in state.rows.items()}
    counts = memory.class_counts
    return {
        "seed": learner.seed,
        "class_order": scenario.order,
        "stage_classes": stage_classes,
        "tested_on": tested_on,
        **heads[learner.method.heads[0]],
        "head": learner.method.heads[0],
        "heads": heads,
        "exemplars_per_class": len(memory) / len(scenario.order),
        "exemplars": [counts.get(label, 0) for label in scenario.order],
        "memory_bytes": memory.nbytes,
        "memory_by_stage": state.memory,
        "budget_bytes": memory.budget,
        "weights_bytes": memory.codec.weights_bytes(),
        "exemplars_decoded": "for each batch" if learner.streamed else "once a stage",
        "network": learner.network_name,
        "optimizer_steps": state.optimizer_steps,
        "seconds": round(state.seconds, 2),
        "peak_memory_bytes": peak_device_memory_bytes(learner.device),
        "run_dir": run.name,
    }
