"""``neural train|list`` as a script would use them, and trained codecs in every command that takes a codec."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_samples import call

from toolkit.cli import run

SMALL = ("demo", "--size", "16", "--bpp", "1", "--steps", "3", "--channels", "16", "--latent", "8", "--device", "cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file."""
    folder = tmp_path_factory.mktemp("neural")
    assert run(["neural", "train", *SMALL, "-o", str(folder), "--json", str(folder / "result.json")]) == 0
    return folder / "neural-1bpp.npz"


def test_training_reports_its_measurements_and_how_to_use_the_model(
    capsys: pytest.CaptureFixture[str], trained: Path
) -> None:
    result = json.loads((trained.parent / "result.json").read_text())
    measured = result["codecs"][0]["measured"][0]
    assert {"size", "bpp", "psnr", "images", "shared_bytes"} <= set(measured)
    status, out, err = call(capsys, "neural", "train", *SMALL, "-o", trained.parent, "--json", "-")
    assert status == 0, err
    assert json.loads(out)["codecs"] == result["codecs"], "what is trained is only read"
    assert f"neural:checkpoint={trained}" in err


def test_probe_advice_memory_and_pilot_accept_a_trained_codec(
    capsys: pytest.CaptureFixture[str], trained: Path, tmp_path: Path
) -> None:
    codec = f"neural:checkpoint={trained}"
    common = ("demo", "--size", 16, "--budget", "60000")
    status, out, err = call(capsys, "probe", *common, "--images", 20, "--codecs", f"{codec};raw", "--json", "-")
    assert status == 0, err
    row = json.loads(out)["settings"][0]
    assert row["weights_bytes"] > 1000
    assert row["stored_bytes"] < 768
    status, out, err = call(
        capsys, "advise", *common, "--images", 60, "--codecs", f"{codec};raw;jpeg:quality=50", "--json", "-"
    )
    assert status == 0, err
    assert json.loads(out)["recommended"]["codec"]
    file = tmp_path / "m.recall"
    status, _, err = call(capsys, "memory", "build", *common, "--codec", codec, "-o", file)
    assert status == 0, err
    status, _, err = call(capsys, "memory", "verify", file, "--codec", codec)
    assert status == 0, err
    status, out, err = call(
        capsys,
        "pilot",
        *common,
        "--codec",
        codec,
        "--align",
        "both",
        "--steps",
        2,
        "--initial",
        5,
        "--increment",
        5,
        "--runs-dir",
        tmp_path,
        "--device",
        "cpu",
        "--json",
        "-",
    )
    assert status == 0, err
    assert json.loads(out)["runs"][0]["memory_bytes"] <= 60000
    assert json.loads(out)["runs"][0]["weights_bytes"] == row["weights_bytes"]
    status, out, err = call(capsys, "memory", "inspect", file, "--json", "-")
    assert json.loads(out)["weights_bytes"] == row["weights_bytes"]
    assert f"{row['weights_bytes']:,} bytes of weights" in err


def test_an_adapted_codec_keeps_its_decoder(capsys: pytest.CaptureFixture[str], trained: Path, tmp_path: Path) -> None:
    status, out, err = call(
        capsys,
        "neural",
        "train",
        "demo",
        "--size",
        16,
        "--steps",
        2,
        "--continue",
        trained,
        "--device",
        "cpu",
        "-o",
        tmp_path,
        "--json",
        "-",
    )
    assert status == 0, err
    before = json.loads((trained.parent / "result.json").read_text())["codecs"][0]["decoder"]
    assert json.loads(out)["codecs"][0]["decoder"] == before


def test_an_adapted_codec_has_its_own_network(
    capsys: pytest.CaptureFixture[str], trained: Path, tmp_path: Path
) -> None:
    status, out, err = call(
        capsys,
        "neural",
        "train",
        "demo",
        "--size",
        16,
        "--continue",
        trained,
        "--channels",
        32,
        "--stages",
        2,
        "-o",
        tmp_path,
    )
    assert (status, out) == (2, "")
    assert "remove --channels, --stages" in err


def test_the_list_contains_every_codec_that_a_grid_can_name(capsys: pytest.CaptureFixture[str], trained: Path) -> None:
    status, out, err = call(capsys, "neural", "list", trained.parent, "--json", "-")
    assert status == 0, err
    models = {model["spec"]: model for model in json.loads(out)["models"]}
    assert models["neural:model=small,quality=1"]["weights"] == "here"
    assert models[f"neural:checkpoint={trained}"]["architecture"] == "factorized"
    assert "not for exemplars" in models["neural:model=mbt2018,quality=1..8"]["note"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--bpp", "many"), "--bpp must be numbers"),
        (("--bpp", "99"), "rates"),
        (("--size", "8"), "sizes"),
        (("--architecture", "vae"), "architecture"),
        (("--batch-size", "100000000"), "batch_size"),
        (("--continue", "/nowhere/x.npz"), "cannot read"),
        (("--continue", "/nowhere/x.npz", "--bpp", "2"), "remove --bpp"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    status, out, err = call(capsys, "neural", "train", "demo", *arguments, "-o", tmp_path / "t")
    assert status == 2
    assert words in err
    assert out == ""
    assert len(err.strip().splitlines()) == 1
