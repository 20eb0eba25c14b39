"""Learned tables as a codec, through probe, pilot and memory."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from toolkit.codecs.jpeg_tables import read_tables
from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.foundation.errors import UsageError
from toolkit.jpeg_dl.experiment import load_trained
from toolkit.jpeg_dl.export import export_tables
from toolkit.runs.folder import RunFolder


@pytest.fixture(scope="module")
def tables(trained: tuple[RunFolder, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "tables.json"
    export_tables(trained[0], path)
    return path


def test_exported_tables_are_the_learned_ones_rounded(trained: tuple[RunFolder, dict[str, Any]], tables: Path) -> None:
    learned = trained[1]["runs"][0]["variants"]["jpeg"]["tables"]
    written = read_tables(tables)
    np.testing.assert_array_equal(written.luma, np.rint(learned["luma"]))
    np.testing.assert_array_equal(written.chroma, np.rint(learned["chroma"]))
    assert written.trained["variant"] == "jpeg"
    assert written.alpha is not None
    np.testing.assert_allclose(written.alpha, 0.05, rtol=1e-5)


def test_dead_zones_are_wider_for_expensive_and_insensitive_frequencies(tables: Path) -> None:
    dead_zone = read_tables(tables).dead_zone
    assert dead_zone is not None
    assert dead_zone.min() >= 0.5
    assert dead_zone.max() <= 1.0
    assert dead_zone.std() > 0


def test_files_contain_the_tables_and_open_in_pillow(tables: Path) -> None:
    codec = parse_codec(f"learned-jpeg:tables={tables}")
    images = np.array(load_dataset("demo", 32).test.images[:4])
    file = codec.to_file(codec.encode(images)[0])
    opened = Image.open(io.BytesIO(file))
    assert opened.format == "JPEG"
    assert np.array(opened.quantization[0]).reshape(8, 8).tolist() == read_tables(tables).luma.tolist()
    decoded = np.array(opened.convert("RGB")).astype(float)
    assert np.abs(decoded - images[0]).mean() < 30


@pytest.mark.parametrize("rounding", ["nearest", "deadzone", "sample"])
def test_the_codec_goes_through_probe_pilot_and_memory(tables: Path, tmp_path: Path, rounding: str) -> None:
    from toolkit.memory.store import ExemplarMemory
    from toolkit.pilots.config import make_pilot_config
    from toolkit.pilots.foreground import run_pilot
    from toolkit.probe.request import ProbeRequest, run_probe

    spec = f"learned-jpeg:tables={tables},rounding={rounding}"
    probe = run_probe(ProbeRequest("demo", 16, f"{spec};jpeg:quality=50", "4img", images=20, device="cpu"))
    assert [setting["codec"].split(":")[0] for setting in probe["settings"]][-2:] == ["learned-jpeg", "jpeg"]
    config = make_pilot_config(
        dataset="demo", size=16, initial=5, increment=5, codec=spec, budget="4img", steps=1, batch_size=8, device="cpu"
    )
    result = run_pilot(config, 0, tmp_path)
    assert result["memory_bytes"] <= result["budget_bytes"]
    with ExemplarMemory(tmp_path / config.run_name(0) / "memory.recall") as memory:
        assert memory.decode_all()[0].shape[1:] == (16, 16, 3)
        assert not memory.verify()


def test_tables_beyond_a_jpeg_file_are_refused(trained: tuple[RunFolder, dict[str, Any]], tmp_path: Path) -> None:
    run, _ = trained
    path = run.path / "unclipped-layer.pt"
    kept = path.read_bytes()
    try:
        for value, message in ((300.0, "255"), (float("nan"), "nan"), (-1.0, "")):
            state = torch.load(io.BytesIO(kept), weights_only=True)
            state["steps"][0, 0, 0] = value
            torch.save(state, path)
            if value == -1.0 or value == 300.0:  # the layer itself keeps its steps within range
                assert export_tables(run, tmp_path / "t.json", variant="unclipped").steps.max() <= 255
            else:
                with pytest.raises(UsageError, match=message):
                    export_tables(run, tmp_path / "t.json", variant="unclipped")
    finally:
        path.write_bytes(kept)


def test_the_plain_network_has_no_tables(trained: tuple[RunFolder, dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the plain network has no tables"):
        export_tables(trained[0], tmp_path / "t.json", variant="plain")
    assert load_trained(trained[0], "plain")[2] is None
