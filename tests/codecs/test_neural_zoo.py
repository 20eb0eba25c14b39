"""The CompressAI zoo as exemplar codecs: state dicts, slow and variable-rate models, missing weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from codec_samples import natural
from neural_samples import cut_or_flipped

from toolkit.codecs.neural.codec import SLOW, ZOO
from toolkit.codecs.spec import parse_codec
from toolkit.foundation.errors import WorkError


def test_the_zoo_equals_that_of_compressai() -> None:
    from compressai import zoo

    assert set(ZOO) == set(zoo.image_models)
    assert set(SLOW) <= set(ZOO)


def zoo_state(name: str) -> dict[str, torch.Tensor]:
    """An untrained network of the zoo's architecture, small where that can be."""
    from compressai.models import (
        Cheng2020Anchor,
        FactorizedPrior,
        JointAutoregressiveHierarchicalPriors,
        MeanScaleHyperprior,
        ScaleHyperprior,
    )

    torch.manual_seed(0)
    kinds = {
        "bmshj2018-factorized": FactorizedPrior,
        "bmshj2018-hyperprior": ScaleHyperprior,
        "mbt2018-mean": MeanScaleHyperprior,
        "mbt2018": JointAutoregressiveHierarchicalPriors,
    }
    network = Cheng2020Anchor(16) if name.startswith("cheng") else kinds[name](16, 24)
    network.update()
    return network.state_dict()


@pytest.mark.parametrize("name", ["bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean"])
def test_state_dicts_of_compressai_models_code_images(tmp_path: Path, name: str) -> None:
    torch.save(zoo_state(name), tmp_path / "zoo.pth.tar")
    codec = parse_codec(f"neural:checkpoint={tmp_path / 'zoo.pth.tar'}")
    images = natural(3, 80)
    payloads = codec.encode(images)
    fresh = parse_codec(str(codec))
    fresh.load_shared(codec.shared_state())
    assert np.array_equal(fresh.decode(payloads), codec.decode(payloads))
    assert codec.decode(payloads).shape == images.shape


def test_tables_computed_differently_on_another_machine_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressai.models import CompressionModel

    from toolkit.codecs.neural import codec as opened

    torch.save(zoo_state("bmshj2018-factorized"), tmp_path / "zoo.pth.tar")
    codec = parse_codec(f"neural:checkpoint={tmp_path / 'zoo.pth.tar'}")
    payloads = codec.encode(natural(3, 64))
    wanted, update = codec.decode(payloads), CompressionModel.update

    def updated_otherwise(network: Any, *given: Any, **named: Any) -> bool:
        done = update(network, *given, **named)
        network.entropy_bottleneck._quantized_cdf[:, 1] += 1
        return bool(done)

    monkeypatch.setattr(CompressionModel, "update", updated_otherwise)
    opened._file_model.cache_clear()
    fresh = parse_codec(str(codec))
    fresh.load_shared(codec.shared_state())
    assert np.array_equal(fresh.decode(payloads), wanted)
    opened._file_model.cache_clear()


@pytest.mark.parametrize("name", ["mbt2018", "cheng2020-anchor"])
def test_autoregressive_models_work_and_warn_with_the_measured_time(tmp_path: Path, name: str) -> None:
    torch.save(zoo_state(name), tmp_path / "slow.pth.tar")
    codec = parse_codec(f"neural:checkpoint={tmp_path / 'slow.pth.tar'}")
    with pytest.warns(RuntimeWarning, match=r"decodes an image of 20 x 20 pixels in \d+\.\d\d s"):
        payloads = codec.encode(natural(1, 20))
    assert codec.decode(payloads).shape == (1, 20, 20, 3)
    for one in cut_or_flipped(payloads[0]):
        with pytest.raises(WorkError, match="damaged"):
            codec.decode([one])


def vbr_network(name: str) -> Any:
    """An untrained network of variable rate, in the state that CompressAI's own weights have."""
    from compressai.models import vbr

    torch.manual_seed(0)
    kinds = {
        "bmshj2018-hyperprior-vbr": vbr.ScaleHyperpriorVbr,
        "mbt2018-mean-vbr": vbr.MeanScaleHyperpriorVbr,
        "mbt2018-vbr": vbr.JointAutoregressiveHierarchicalPriorsVbr,
    }
    return kinds[name](16, 24)


@pytest.mark.parametrize("name", ["bmshj2018-hyperprior-vbr", "mbt2018-mean-vbr", "mbt2018-vbr"])
@pytest.mark.filterwarnings("ignore:.*too slow for exemplars")
def test_variable_rate_models_code_images_and_higher_qualities_take_more_bytes(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from compressai import zoo

    from toolkit.codecs.neural import codec as opened

    monkeypatch.setitem(zoo.image_models, name, lambda **_: vbr_network(name))
    opened._zoo_model.cache_clear()
    sizes, images = [], natural(2, 40)
    for quality in (1, 8):
        codec = parse_codec(f"neural:model={name},quality={quality}")
        payloads = codec.encode(images)
        assert codec.decode(payloads).shape == images.shape
        sizes.append(sum(map(len, payloads)))
    assert sizes[0] <= sizes[1]
    opened._zoo_model.cache_clear()


def test_compressai_streams_are_verified_by_decoding_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compressai.models import Cheng2020Anchor

    torch.save(zoo_state("cheng2020-anchor"), tmp_path / "slow.pth.tar")
    codec = parse_codec(f"neural:checkpoint={tmp_path / 'slow.pth.tar'}")
    honest = Cheng2020Anchor.decompress

    def other(self: Any, strings: Any, shape: Any) -> Any:
        self.g_s.register_forward_pre_hook(lambda _, latents: (latents[0] + 1,), prepend=True)
        return honest(self, strings, shape)

    monkeypatch.setattr(Cheng2020Anchor, "decompress", other)
    with pytest.raises(WorkError, match="does not decode to what was encoded"), pytest.warns(RuntimeWarning):
        codec.encode(natural(1, 20))


def test_without_internet_one_line_names_file_and_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import urllib.error

    from compressai.zoo import image

    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(image, "load_state_dict_from_url", unreachable)
    with pytest.raises(WorkError) as caught:
        parse_codec("neural:model=bmshj2018-hyperprior,quality=2").encode(natural(1, 64))
    assert "bmshj2018-hyperprior-2" in str(caught.value)
    assert str(tmp_path / "hub" / "checkpoints") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ZOO)
def test_every_model_of_the_zoo_asks_for_the_file_that_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    from compressai.zoo import image, image_vbr

    from toolkit.codecs.neural.inventory import known_models
    from toolkit.codecs.neural.networks import weights_files

    asked = []

    def ask(url: str, **_: object) -> None:
        asked.append(url.rsplit("/", 1)[-1])
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for module in (image, image_vbr):
        monkeypatch.setattr(module, "load_state_dict_from_url", ask)
    for quality in (1, 6):
        with pytest.raises(WorkError):
            parse_codec(f"neural:model={name},quality={quality}").encode(natural(1, 64))
    named = weights_files(name, "mse")
    assert [path.name for path in (named[1], named[6])] == asked
    (row,) = [row for row in known_models() if row["architecture"] == name]
    assert row["weights"] == "downloaded when first used"
    named[6].parent.mkdir(parents=True)
    named[6].touch()
    (row,) = [row for row in known_models() if row["architecture"] == name]
    assert row["weights"] == "here: quality " + ("6" if named[1] != named[6] else "1, 2, 3, 4, 5, 6, 7, 8")
