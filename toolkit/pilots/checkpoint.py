"""What a pilot must remember to go on after being killed, and the file that remembers it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from toolkit.pilots.learner import Learner
from toolkit.training.checkpoint import restore_checkpoint
from toolkit.training.weights import write_tensors


@dataclass
class Checkpoint:
    """How far a pilot has come.

    Attributes:
        stage: the stage under way.
        phase, step: its phase under way, and the steps of that phase that are done.
        trained: its training is complete; the memory's commit and the evaluation may or may not be.
        optimizer_steps: steps of all complete phases.
        seconds: time spent up to here.
        rows: for each head, accuracy matrices so far, on original and on coded test images.
        memory: exemplars and bytes after each stage.
        optimizer, rng: states at ``step``; of the generators of CPU and GPU.
    """

    stage: int = 0
    phase: int = 0
    step: int = 0
    trained: bool = False
    optimizer_steps: int = 0
    seconds: float = 0.0
    rows: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    memory: list[dict[str, int]] = field(default_factory=list)
    optimizer: dict[str, Any] | None = None
    rng: list[torch.Tensor] | None = None

    @property
    def begun(self) -> bool:
        """Whether some of the stage's training is done: the network has the stage's shape."""
        return self.trained or self.phase > 0 or self.step > 0

    def save(self, path: Path, learner: Learner) -> None:
        """Write the checkpoint and the learner's networks, atomically."""
        auxiliary = {name: module.state_dict() for name, module in learner.method.auxiliary.items()}
        write_tensors(
            path, {"progress": self.__dict__, "network": learner.network.state_dict(), "auxiliary": auxiliary}
        )

    @classmethod
    def restore(cls, path: Path, learner: Learner) -> Checkpoint:
        """The saved checkpoint, with the learner's networks brought to it; a fresh one where none was saved.

        Raises:
            WorkError: the file is damaged or of another network.
        """

        def apply(saved: dict[str, Any]) -> Checkpoint:
            checkpoint = cls(**saved["progress"])
            checkpoint._give_shape(learner)
            learner.network.load_state_dict(saved["network"])
            for name, module in learner.method.auxiliary.items():
                module.load_state_dict(saved["auxiliary"][name])
            return checkpoint

        return restore_checkpoint(path, learner.device, apply) or cls()

    def _give_shape(self, learner: Learner) -> None:
        """Take an untrained network through the shapes of the stages so far; the weights follow."""
        for stage in range(self.stage):
            learner.begin(stage)
            learner.finish(stage)
        if self.begun:
            learner.begin(self.stage)
        if self.trained:
            learner.finish(self.stage)
