"""Neural codecs in a memory: sizes, streams, stored tables, missing weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from codec_samples import flat, natural, noise, psnr
from neural_samples import cut_or_flipped, model_file

from toolkit.codecs.neural.codec import SMALL_FOLDER
from toolkit.codecs.neural.model_file import read_model_manifest, read_model_state
from toolkit.codecs.spec import expand_grid, parse_codec, short_spec
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory.store import ExemplarMemory


@pytest.mark.parametrize("name", ["factorized", "hyperprior"])
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (33, 47), (16, 16), (9, 5), (1, 1), (225, 320)])
def test_a_fresh_codec_restores_any_size(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    images = natural(3, max(64, *size))[:, : size[0], : size[1]]
    codec = parse_codec(f"neural:checkpoint={model_file(tmp_path, name)}")
    payloads = codec.encode(images)
    fresh = parse_codec(str(codec))
    fresh.load_shared(codec.shared_state())
    decoded = fresh.decode(payloads)
    assert decoded.shape == images.shape
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, codec.decode(payloads))
    assert np.array_equal(decoded[1:2], fresh.decode(payloads[1:2])), "an exemplar is decoded alone"


@pytest.mark.parametrize("name", ["factorized", "hyperprior"])
def test_decoded_images_equal_the_reconstruction_of_the_network(tmp_path: Path, name: str) -> None:
    """Against CompressAI's forward pass in evaluation mode, which rounds and codes nothing."""
    from toolkit.codecs.neural.networks import build, load_state

    path = model_file(tmp_path, name)
    manifest = read_model_manifest(path)
    assert manifest is not None
    network = build(manifest.architecture)
    load_state(network, read_model_state(path))
    images = natural(4, 32)
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)["x_hat"].clamp(0, 1) * 255
    codec = parse_codec(f"neural:checkpoint={path}")
    decoded = codec.decode(codec.encode(images))
    assert np.abs(decoded - expected.permute(0, 2, 3, 1).numpy()).max() <= 0.51


def test_padding_repeats_the_last_row_and_column(tmp_path: Path) -> None:
    images = natural(2, 32)
    padded = np.pad(images[:, :29, :30], ((0, 0), (0, 3), (0, 2), (0, 0)), mode="edge")
    spec = f"neural:checkpoint={model_file(tmp_path)}"
    cut, whole = parse_codec(spec), parse_codec(spec)
    assert cut.encode(images[:, :29, :30]) == whole.encode(padded)


def test_another_process_with_other_threads_decodes_the_same(tmp_path: Path) -> None:
    images = np.concatenate([natural(20, 32), noise(4, 32), flat(32)])
    here = {}
    code = "import numpy as np, torch; torch.set_num_threads(2)\nfrom toolkit.memory.store import ExemplarMemory\n"
    for name in ("factorized", "hyperprior"):
        file, spec = tmp_path / f"{name}.recall", f"neural:checkpoint={model_file(tmp_path, name)}"
        with ExemplarMemory(file, 10**6, spec) as memory:
            memory.add_images({0: images})
            here[name] = memory.decode(0)
        code += f"np.save({str(tmp_path / name)!r}, ExemplarMemory({str(file)!r}, codec={spec!r}).decode(0))\n"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    for name, images_here in here.items():
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), images_here), name


@pytest.mark.parametrize("name", ["factorized", "hyperprior"])
def test_a_stream_cut_or_changed_anywhere_is_reported_and_nothing_crashes(tmp_path: Path, name: str) -> None:
    codec = parse_codec(f"neural:checkpoint={model_file(tmp_path, name)}")
    for one in cut_or_flipped(codec.encode(natural(1, 32))[0]):
        with pytest.raises(WorkError, match="damaged"):
            codec.decode([one])


def test_a_memory_reports_damaged_streams_and_continues(tmp_path: Path) -> None:
    import sqlite3

    with ExemplarMemory(tmp_path / "m.recall", 10**6, f"neural:checkpoint={model_file(tmp_path)}") as memory:
        memory.add_images({0: natural(6, 32)})
        last = sum(map(len, memory.payloads(0)[0][:3])) - 1  # of the third payload
        connection = sqlite3.connect(tmp_path / "m.recall")
        (data,) = connection.execute("SELECT data FROM packs").fetchone()
        changed = data[:last] + bytes([data[last] ^ 255]) + data[last + 1 :]
        connection.execute("UPDATE packs SET data = ?", (changed,))
        connection.commit()
        connection.close()
        assert [(found.label, found.rank) for found in memory.verify()] == [(0, 2)]
        with pytest.warns(UserWarning, match="1 damaged exemplars"):
            assert len(memory.decode(0)) == 5


def test_a_memory_with_a_missing_model_names_the_model_and_its_digest(tmp_path: Path) -> None:
    path = model_file(tmp_path)
    digest = read_model_manifest(path).decoder  # type: ignore[union-attr]
    with ExemplarMemory(tmp_path / "m.recall", 10**6, f"neural:checkpoint={path}") as memory:
        memory.add_images({0: natural(2, 32)})
    path.rename(tmp_path / "elsewhere.npz")
    with ExemplarMemory(tmp_path / "m.recall") as memory:
        assert memory.summary()["exemplars"] == 2, "what needs no pixels needs no model"
        with pytest.raises(WorkError, match=rf"factorized-0\.npz.*need decoder {digest}"):
            memory.codec.decode(memory.payloads(0)[0])
    with ExemplarMemory(tmp_path / "m.recall", codec=f"neural:checkpoint={tmp_path / 'elsewhere.npz'}") as memory:
        assert memory.decode(0).shape == (2, 32, 32, 3)


def test_another_decoder_in_the_file_is_refused(tmp_path: Path) -> None:
    path = model_file(tmp_path)
    spec = str(parse_codec(f"neural:checkpoint={path}"))
    model_file(tmp_path, seed=1).rename(path)
    with pytest.raises(UsageError, match="another decoder"):
        expand_grid(spec)
    with pytest.raises(UsageError, match="another decoder"):
        parse_codec(spec).encode(natural(1, 32))
    ExemplarMemory(tmp_path / "m.recall", 10**6, f"neural:checkpoint={model_file(tmp_path, seed=2)}").close()
    with pytest.raises(UsageError, match="was made with"):
        ExemplarMemory(tmp_path / "m.recall", codec=f"neural:checkpoint={path}")


def test_weights_are_reported_and_charged_when_asked(tmp_path: Path) -> None:
    path = model_file(tmp_path)
    state = read_model_state(path)
    expected = sum(array.nbytes for name, array in state.items() if name.startswith("g_s"))
    expected += state["entropy_bottleneck.quantiles"].nbytes
    plain = parse_codec(f"neural:checkpoint={path}")
    charged = parse_codec(f"neural:checkpoint={path},charge_weights=yes")
    shared = parse_codec(f"neural:checkpoint={path},charge_weights=yes,devices=7")
    for codec in (plain, charged, shared):
        codec.fit(natural(1, 32))
        assert codec.weights_bytes() == expected
    assert plain.shared_bytes() == len(plain.shared_state())
    assert charged.shared_bytes() == plain.shared_bytes() + expected
    assert shared.shared_bytes() == plain.shared_bytes() + -(-expected // 7)
    wrapped = parse_codec(f"downscale:factor=2|neural:checkpoint={path},charge_weights=yes")
    wrapped.fit(natural(1, 32))
    assert wrapped.shared_bytes() == len(wrapped.shared_state()) + expected


def test_constant_channels_are_left_out_of_streams(tmp_path: Path) -> None:
    from toolkit.codecs.neural.model_file import write_model
    from toolkit.codecs.neural.networks import build, prepare_tables

    torch.manual_seed(0)
    architecture = {"name": "factorized", "channels": 16, "latent": 8, "stages": 3}
    network = build(architecture).eval()
    with torch.no_grad():
        network.g_a.linear.weight[3:] = 0
        network.g_a.linear.weight[:3] *= 50
    images = natural(5, 32)
    path = tmp_path / "silent.npz"
    write_model(path, architecture, prepare_tables(network, [images]), {})
    codec = parse_codec(f"neural:checkpoint={path}")
    payloads = codec.encode(images)
    assert (codec._model().tables.lengths[:8] > 1).sum() == 3  # type: ignore[attr-defined]
    with torch.inference_mode():
        expected = network(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)["x_hat"].clamp(0, 1) * 255
    assert np.abs(codec.decode(payloads) - expected.permute(0, 2, 3, 1).numpy()).max() <= 0.51


def test_the_spec_is_canonical_and_keeps_no_path_in_a_memory(tmp_path: Path) -> None:
    path = model_file(tmp_path)
    spec = str(parse_codec(f"neural:checkpoint={path}"))
    assert str(parse_codec(spec)) == spec
    assert short_spec(spec).startswith("neural:checkpoint=factorized-0.npz,digest=")
    assert str(parse_codec("neural:quality=3,model=mbt2018-mean")) == "neural:model=mbt2018-mean,quality=3"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("neural", "needs either model=small"),
        ("neural:model=small", "quality of model=small must be 1..3, got None"),
        ("neural:model=small,quality=4", "must be 1..3, got 4"),
        ("neural:model=cheng2020-attn,quality=7", "must be 1..6, got 7"),
        ("neural:model=mbt2018,quality=9", "quality must be 1..8, got '9'"),
        ("neural:model=vgg,quality=1", "model must be small|bmshj2018"),
        ("neural:model=small,quality=1,metric=ms-ssim", "has no metric"),
        ("neural:checkpoint=/nowhere/x.npz", "cannot read the neural codec"),
        ("neural:checkpoint=/nowhere/x.npz,quality=2", "a checkpoint has its own"),
        ("neural:model=small,quality=1,digest=0123456789ab", "digest requires checkpoint"),
        ("neural:model=small,quality=1,devices=0", "devices must be 1.."),
        ("neural:model=small,quality=1,devices=3", "without charge_weights=yes"),
    ],
)
def test_wrong_specs_are_refused_in_one_line(spec: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_codec(spec)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_without_a_codec_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no model")
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "classifier.pt")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    whole = model_file(tmp_path).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("text.npz", "classifier.pt", "arrays.npz", "cut.npz"):
        with pytest.raises(UsageError) as caught:
            parse_codec(f"neural:checkpoint={tmp_path / name}").encode(natural(1, 32))
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    from toolkit.codecs.neural.model_file import write_model

    state = read_model_state(model_file(tmp_path))
    path = tmp_path / "wrong.npz"
    write_model(path, {"name": "factorized", "channels": 32, "latent": 8, "stages": 3}, state, {})
    with pytest.raises(UsageError, match="another architecture"):
        parse_codec(f"neural:checkpoint={path}").encode(natural(1, 32))
    write_model(path, {"name": "transformer"}, state, {})
    with pytest.raises(UsageError, match="must be factorized or hyperprior"):
        parse_codec(f"neural:checkpoint={path}").encode(natural(1, 32))


def test_images_of_other_channels_or_sizes_are_refused(tmp_path: Path) -> None:
    codec = parse_codec(f"neural:checkpoint={model_file(tmp_path)}")
    wrong = [np.zeros(shape, np.uint8) for shape in ((2, 32, 32, 1), (2, 32, 32, 4), (32, 32, 3))]
    for images in (*wrong, np.zeros((2, 32, 32, 3), np.float32)):
        with pytest.raises(UsageError, match=r"uint8 \(N, H, W, 3\)"):
            codec.encode(images)
    codec.encode(natural(1, 32))
    with pytest.raises(UsageError, match="all images must have"):
        codec.encode(natural(1, 48))


def test_a_memory_without_its_model_reports_it_once(tmp_path: Path) -> None:
    path = model_file(tmp_path)
    with ExemplarMemory(tmp_path / "m.recall", 20_000, f"neural:checkpoint={path}") as memory:
        memory.add_images({0: natural(5, 32)})
    path.rename(tmp_path / "elsewhere.npz")
    with ExemplarMemory(tmp_path / "m.recall") as memory, pytest.raises(WorkError, match=r"need decoder [0-9a-f]{12}"):
        memory.verify()
    with ExemplarMemory(tmp_path / "m.recall", codec=f"neural:checkpoint={tmp_path / 'elsewhere.npz'}") as memory:
        assert memory.verify() == []


def test_a_memory_finds_the_model_next_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, moved = tmp_path / "made", tmp_path / "moved"
    made.mkdir()
    spec = f"downscale:factor=2|neural:checkpoint={model_file(made)}"
    with ExemplarMemory(made / "m.recall", 20_000, spec) as memory:
        memory.add_images({0: natural(5, 32)})
        wanted = memory.decode(0)
        assert memory.summary()["weights_bytes"] == memory.codec.weights_bytes() > 0
    made.rename(moved)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    with ExemplarMemory(moved / "m.recall") as memory:
        assert np.array_equal(memory.decode(0), wanted)
        memory.add_images({1: natural(2, 32)})
    monkeypatch.chdir(tmp_path)
    with ExemplarMemory("moved/m.recall") as memory:
        assert len(memory.decode(1)) == 2


def test_the_included_model_is_small_and_beats_a_codec_without_network() -> None:
    files = sorted(SMALL_FOLDER.glob("small-*.npz"))
    assert len(files) == 3
    assert sum(path.stat().st_size for path in files) <= 4 * 10**6
    images = natural(40, 32)
    quality = []
    for level in (1, 2, 3):
        codec = parse_codec(f"neural:model=small,quality={level}")
        payloads = codec.encode(images)
        quality.append((np.mean([len(one) for one in payloads]), psnr(codec.decode(payloads), images).mean()))
    assert quality == sorted(quality), "bytes and PSNR rise together"
    mean_colour = images.mean(axis=(1, 2), keepdims=True).round().astype(np.uint8) + np.zeros_like(images)
    assert quality[0][1] > psnr(mean_colour, images).mean() + 2
