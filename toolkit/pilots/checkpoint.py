"""What a pilot must remember to go on after being killed, and the file that remembers it."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from toolkit.foundation.errors import WorkError, one_line
from toolkit.foundation.files import write_atomically
from toolkit.pilots.learner import Learner


@dataclass
class Checkpoint:
    """How far a pilot has come.

    Attributes:
        stage: the stage under way.
        step: steps of it that are done.
        trained: its training is complete; evaluation and the memory's commit may or may not be.
        optimizer_steps: steps of all earlier stages.
        seconds: time spent up to here.
        rows: accuracy matrices so far, on original and on coded test images.
        memory: exemplars and bytes after each stage.
        optimizer, rng: states at ``step``.
    """

    stage: int = 0
    step: int = 0
    trained: bool = False
    optimizer_steps: int = 0
    seconds: float = 0.0
    rows: dict[str, list[list[float]]] = field(default_factory=lambda: {"original": [], "coded": []})
    memory: list[dict[str, int]] = field(default_factory=list)
    optimizer: dict[str, Any] | None = None
    rng: torch.Tensor | None = None

    def save(self, path: Path, learner: Learner) -> None:
        """Write the checkpoint and the learner's network, atomically."""
        buffer = io.BytesIO()
        torch.save({"progress": self.__dict__, "network": learner.network.state_dict()}, buffer)
        write_atomically(path, lambda file: file.write(buffer.getbuffer()))

    @classmethod
    def restore(cls, path: Path, learner: Learner) -> Checkpoint:
        """The saved checkpoint, with the learner's network brought to it; a fresh one where none was saved.

        Raises:
            WorkError: the file is damaged or of another network.
        """
        if not path.exists():
            return cls()
        try:
            saved = torch.load(path, map_location=learner.device, weights_only=True)
            learner.network.grow(saved["network"]["head.weight"].shape[0])
            learner.network.load_state_dict(saved["network"])
            return cls(**saved["progress"])
        except Exception as error:  # torch and pickle raise a dozen types for a damaged file
            raise WorkError(f"the checkpoint {path} cannot be resumed: {one_line(error)}; delete it") from error
