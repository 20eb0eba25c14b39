"""State of a pilot that must survive a kill, and the file that stores it."""

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
    """Progress of a pilot.

    Attributes:
        stage: the current stage.
        phase, step: its current phase, and the number of steps done in that phase.
        trained: whether its training is complete; the memory's commit and the evaluation may be missing.
        optimizer_steps: steps of all complete phases.
        seconds: time spent so far.
        rows: accuracy matrices so far for each head, on original and on coded test images.
        memory: exemplars and bytes after each stage.
        correct: which test images were right after the last complete stage; see :meth:`Learner.evaluate`.
        optimizer, rng: optimiser state and CPU and GPU generator states at ``step``.
    """

    stage: int = 0
    phase: int = 0
    step: int = 0
    trained: bool = False
    optimizer_steps: int = 0
    seconds: float = 0.0
    rows: dict[str, dict[str, list[list[float]]]] = field(default_factory=dict)
    memory: list[dict[str, int]] = field(default_factory=list)
    correct: str = ""
    optimizer: dict[str, Any] | None = None
    rng: list[torch.Tensor] | None = None

    @property
    def begun(self) -> bool:
        """Whether training of the stage has begun, so that the network has its shape."""
        return self.trained or self.phase > 0 or self.step > 0

    def save(self, path: Path, learner: Learner) -> None:
        """Write the checkpoint and the learner's networks, atomically."""
        auxiliary = {name: module.state_dict() for name, module in learner.method.auxiliary.items()}
        write_tensors(
            path, {"progress": self.__dict__, "network": learner.network.state_dict(), "auxiliary": auxiliary}
        )

    @classmethod
    def restore(cls, path: Path, learner: Learner) -> Checkpoint:
        """Load the saved checkpoint into the learner's networks; without one, return a fresh state.

        Raises:
            WorkError: the file is damaged or belongs to another network.
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
        """Grow an untrained network to its shape at the current stage; weights are loaded later."""
        for stage in range(self.stage):
            learner.begin(stage)
            learner.finish(stage)
        if self.begun:
            learner.begin(self.stage)
        if self.trained:
            learner.finish(self.stage)
