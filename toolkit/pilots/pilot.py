"""Run a pilot from its folder: idempotent, with checkpoints, and resumable after any kill with the same result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import torch

from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import ImageDataset
from toolkit.foundation.seeds import derive
from toolkit.learning.metrics import last_accuracy, summarise
from toolkit.pilots.checkpoint import Checkpoint
from toolkit.pilots.config import PilotConfig, tuned_part
from toolkit.pilots.contents import HeadResult, PilotResult
from toolkit.pilots.data import PilotData
from toolkit.pilots.learner import Learner, open_pilot_memory
from toolkit.pilots.starts import whole_network
from toolkit.runs.folder import RunFolder
from toolkit.runs.reporting import RunReporter, Stopwatch
from toolkit.training.device import peak_device_memory_bytes, random_state, resolve_device, set_random_state
from toolkit.training.loop import train
from toolkit.training.weights import save_network


def train_pilot(
    run: RunFolder,
    config: PilotConfig,
    seed: int,
    reporter: RunReporter,
    checkpoint_path: Path,
    dataset: ImageDataset | None = None,
) -> PilotResult:
    """Train through all stages, continuing from the last checkpoint, and return the run's ``result.json``.

    Args:
        run: the run folder, for network, memory and checkpoint.
        config, seed: the pilot.
        reporter: receives the progress.
        checkpoint_path: the checkpoint file.
        dataset: the configuration's dataset, if it is already open.
    """
    device = resolve_device(config.device)
    dataset = dataset or load_dataset(config.dataset, config.size, progress=reporter.show)
    data = PilotData.load(config, dataset, seed, reporter.show)
    with open_pilot_memory(config, data, run.path) as memory:
        learner = Learner(config, data, memory, device, seed, reporter.show)
        checkpoint = Checkpoint.restore(checkpoint_path, learner)
        stopwatch = Stopwatch(checkpoint.seconds)
        while checkpoint.stage < len(data.scenario):
            _run_stage(run, checkpoint_path, learner, checkpoint, reporter, stopwatch)
        result = _result(run, learner, checkpoint)
        whole = whole_network(learner.start, tuned_part(config), learner.network)
        save_network(whole, learner.start.architecture, run.path / "network.pt", method=config.method)
    return result


def _run_stage(
    run: RunFolder, path: Path, learner: Learner, state: Checkpoint, reporter: RunReporter, stopwatch: Stopwatch
) -> None:
    """Train, commit and evaluate one stage from ``state`` on, and advance ``state`` to the next stage.

    Training is checkpointed as complete before the memory changes, and the memory's commit is idempotent. A kill
    between the two therefore neither trains on the new memory nor commits twice.
    """
    stage = state.stage
    if not state.trained:
        _train_stage(path, learner, state, reporter, stopwatch)
    learner.commit(stage)
    rows, state.correct = learner.evaluate(stage)
    for head, by_images in rows.items():
        for images, row in by_images.items():
            state.rows.setdefault(head, {}).setdefault(images, []).append(row)
    state.memory.append({"exemplars": len(learner.memory), "memory_bytes": _memory_bytes(learner)})
    state.stage, state.phase, state.step, state.trained = stage + 1, 0, 0, False
    state.seconds = stopwatch.seconds()
    state.save(path, learner)
    run.log("stage", stage=stage, accuracy=rows[learner.method.heads[0]], memory=state.memory[-1])


def _memory_bytes(learner: Learner) -> int:
    """Bytes on disk that the method's exemplars take, or those of what it keeps instead."""
    return learner.memory.nbytes if learner.kind.exemplars else learner.method.kept_bytes(learner.network)


def _train_stage(path: Path, learner: Learner, state: Checkpoint, reporter: RunReporter, stopwatch: Stopwatch) -> None:
    """Train the remaining phases of a stage, with checkpoints at ``path``."""
    stage = state.stage
    if not state.begun:
        learner.begin(stage)
    phases = learner.phases(stage)
    recipes = learner.recipes(stage, phases)
    total = state.optimizer_steps + sum(recipe.steps for recipe in recipes[state.phase :])
    total += sum(learner.recipe(later).steps for later in range(stage + 1, len(learner.data.scenario)))

    def after_step(step: int, value: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        done = state.optimizer_steps + step
        # reading the loss waits for the GPU, so it is read only when it is written
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


def _head_result(rows: dict[str, list[list[float]]], tested_on: str, stage_classes: Sequence[int]) -> HeadResult:
    """Results of one head."""
    return {
        "accuracy_matrix": rows[tested_on],
        **summarise(rows[tested_on], stage_classes),
        "accuracy_on_original": last_accuracy(rows["original"], stage_classes),
        "accuracy_on_coded": last_accuracy(rows["coded"], stage_classes),
        "accuracy_matrix_on_original": rows["original"],
        "accuracy_matrix_on_coded": rows["coded"],
    }


class _Correctness(TypedDict, total=False):
    """The fields of a result about single images."""

    test_images: int
    correct: str


def _result(run: RunFolder, learner: Learner, state: Checkpoint) -> PilotResult:
    """An entry of ``runs`` in the ``pilot`` JSON."""
    scenario, memory = learner.data.scenario, learner.memory
    stage_classes = [len(classes) for classes in scenario.stages]
    heads = {name: _head_result(rows, learner.tested_on, stage_classes) for name, rows in state.rows.items()}
    head = heads[learner.method.heads[0]]
    counts = memory.class_counts
    kept: _Correctness = {}
    if state.correct:  # a checkpoint of an earlier version has none
        kept = {"test_images": len(learner.data.dataset.test), "correct": state.correct}
    return {
        "seed": learner.seed,
        "class_order": scenario.order,
        "stage_classes": stage_classes,
        "tested_on": learner.tested_on,
        "accuracy_matrix": head["accuracy_matrix"],
        "average_incremental_accuracy": head["average_incremental_accuracy"],
        "last_accuracy": head["last_accuracy"],
        "forgetting": head["forgetting"],
        "backward_transfer": head["backward_transfer"],
        "accuracy_on_original": head["accuracy_on_original"],
        "accuracy_on_coded": head["accuracy_on_coded"],
        "accuracy_matrix_on_original": head["accuracy_matrix_on_original"],
        "accuracy_matrix_on_coded": head["accuracy_matrix_on_coded"],
        "head": learner.method.heads[0],
        "heads": heads,
        "exemplars_per_class": len(memory) / len(scenario.order),
        "exemplars": [counts.get(label, 0) for label in scenario.order],
        "memory_bytes": _memory_bytes(learner),
        "content_bytes": memory.content_bytes,
        "raw_image_bytes": learner.data.dataset.raw_image_bytes,
        "memory_by_stage": state.memory,
        "budget_bytes": memory.budget,
        "weights_bytes": memory.codec.weights_bytes(),
        "exemplars_decoded": "for each batch" if learner.streamed else "once a stage",
        "network": learner.start.architecture or learner.start.name,
        "weights": learner.start.weights,
        "optimizer_steps": state.optimizer_steps,
        "seconds": round(state.seconds, 2),
        "peak_memory_bytes": peak_device_memory_bytes(learner.device),
        "run_dir": run.name,
        **kept,
    }
