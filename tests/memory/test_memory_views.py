"""The memory as PyTorch data and as ordinary files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from toolkit.codecs.shared_header import calibration_images
from toolkit.memory.export import export_files
from toolkit.memory.store import ExemplarMemory
from toolkit.memory.views import ExemplarDataset, decoded_tensors


def filled(path: Path, codec: str = "jpeg:quality=60") -> ExemplarMemory:
    images = calibration_images(16, 16)
    memory = ExemplarMemory(path, 30_000, codec)
    memory.add({2: memory.codec.encode(images[:5]), 7: memory.codec.encode(images[5:8])}, names={2: "moth/a", 7: "bee"})
    return memory


def test_items_are_the_decoded_exemplars_in_class_and_rank_order(tmp_path: Path) -> None:
    with filled(tmp_path / "m.recall") as memory:
        dataset = ExemplarDataset(memory)
        images, labels = decoded_tensors(memory)
        assert [dataset[i][1] for i in range(len(dataset))] == labels.tolist() == [2] * 5 + [7] * 3
        assert all(torch.equal(dataset[i][0], images[i].permute(2, 0, 1)) for i in range(8))
        assert torch.equal(dataset[-1][0], dataset[7][0])


def test_a_data_loader_with_workers_reads_it(tmp_path: Path) -> None:
    with filled(tmp_path / "m.recall") as memory:
        loader = DataLoader(ExemplarDataset(memory), batch_size=3, num_workers=1, multiprocessing_context="spawn")
        assert torch.cat([labels for _, labels in loader]).tolist() == [2] * 5 + [7] * 3


def test_exported_files_open_anywhere_and_hold_the_decoded_pixels(tmp_path: Path) -> None:
    for codec, extension in (("jpeg:quality=60", "jpg"), ("raw", "png")):
        with filled(tmp_path / f"{extension}.recall", codec) as memory:
            written, damaged = export_files(memory, tmp_path / extension)
            assert (written, damaged) == (8, [])
            files = sorted((tmp_path / extension / "moth_a").iterdir())
            assert [file.name for file in files] == [f"{rank:06d}.{extension}" for rank in range(5)]
            for file, expected in zip(files, memory.decode(2), strict=True):
                np.testing.assert_array_equal(np.asarray(Image.open(file).convert("RGB")), expected)
