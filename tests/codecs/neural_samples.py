"""Untrained neural codecs as model files: poor quality, but real coding."""

from __future__ import annotations

from pathlib import Path

import torch

from toolkit.codecs.neural.model_file import write_model
from toolkit.codecs.neural.networks import build, prepare_tables


def model_file(folder: Path, name: str = "factorized", seed: int = 0, stages: int = 3, latent: int = 8) -> Path:
    """A model file with random weights whose latents are spread over some values."""
    torch.manual_seed(seed)
    architecture = {"name": name, "channels": 16, "latent": latent, "stages": stages}
    network = build(architecture).eval()
    with torch.no_grad():
        for one in network.g_a.parameters():
            one.mul_(2)
    path = folder / f"{name}-{seed}.npz"
    write_model(path, architecture, prepare_tables(network), {"rate": 1.0, "dataset": "nothing"})
    return path


def cut_or_flipped(payload: bytes) -> list[bytes]:
    """The payload cut off before every byte, and with a bit flipped in every byte."""
    cut = [payload[:end] for end in range(len(payload))]
    return cut + [bytes([*payload[:at], payload[at] ^ 1 << at % 8, *payload[at + 1 :]]) for at in range(len(payload))]


def own_streams_model(folder: Path) -> Path:
    """The state dict of an untrained autoregressive model of CompressAI's, as small as it can be."""
    from compressai.models import JointAutoregressiveHierarchicalPriors

    torch.manual_seed(0)
    network = JointAutoregressiveHierarchicalPriors(16, 24)
    network.update()
    path = folder / "own.pth.tar"
    torch.save(network.state_dict(), path)
    return path
