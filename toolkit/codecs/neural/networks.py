"""Networks of neural image codecs: our own small ones, and the CompressAI zoo. CompressAI is imported only here.

Sources: Balle et al., "Variational image compression with a scale hyperprior" (arXiv 1802.01436); Minnen et al.,
"Joint autoregressive and hierarchical priors" (arXiv 1809.02736); Cheng et al. (arXiv 2001.01568).
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from toolkit.codecs.neural.coding import FactorizedModel, HyperpriorModel, Model, OwnStreamsModel, is_autoregressive
from toolkit.codecs.neural.model_file import (
    Architecture,
    decoder_digest,
    read_model_manifest,
    read_model_state,
    weights_bytes,
    without_tables,
)
from toolkit.codecs.neural.rans import PRECISION
from toolkit.foundation.errors import UsageError, WorkError, one_line

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # from torch, about a scripted function of CompressAI
    from compressai import zoo
    from compressai.entropy_models import EntropyBottleneck, GaussianConditional
    from compressai.layers import GDN
    from compressai.models import CompressionModel, FactorizedPrior, MeanScaleHyperprior, ScaleHyperprior
    from compressai.models.utils import conv, deconv

_TAIL_MASS = 1e-5
"""Probability mass outside the tables (CompressAI: 1e-9): tables are charged, and streams have a tail for the rest."""
_FIRST_SCALE = 2.0
"""Initial latents are small: from CompressAI's 10, the rate takes a tenth of a short training to come down."""
_PATCH = 4
_CDF_TOTAL = 1 << PRECISION
_SCALES = tuple(float(scale) for scale in np.geomspace(0.11, 64, 32))


class Factorized(FactorizedPrior):
    """A factorized prior for small images, with ``stages`` downsampling steps (CompressAI: four)."""

    def __init__(self, channels: int, latent: int, stages: int) -> None:
        nn.Module.__init__(self)
        self.N, self.M, self.stages = channels, latent, stages
        self.entropy_bottleneck = EntropyBottleneck(latent, tail_mass=_TAIL_MASS, init_scale=_FIRST_SCALE)
        self.g_a, self.g_s = _transforms(channels, latent, stages)

    @property
    def downsampling_factor(self) -> int:
        return 2**self.stages


class Hyperprior(ScaleHyperprior):
    """A scale hyperprior for small images: one downsampling step for the hyperprior, 32 scales."""

    def __init__(self, channels: int, latent: int, stages: int) -> None:
        nn.Module.__init__(self)
        self.N, self.M, self.stages = channels, latent, stages
        self.entropy_bottleneck = EntropyBottleneck(channels, tail_mass=_TAIL_MASS, init_scale=_FIRST_SCALE)
        self.gaussian_conditional = GaussianConditional(list(_SCALES), tail_mass=_TAIL_MASS)
        self.g_a, self.g_s = _transforms(channels, latent, stages)
        self.h_a = nn.Sequential(
            conv(latent, channels, stride=1, kernel_size=3), nn.ReLU(inplace=True), conv(channels, channels)
        )
        self.h_s = nn.Sequential(
            deconv(channels, channels),
            nn.ReLU(inplace=True),
            conv(channels, latent, stride=1, kernel_size=3),
            nn.ReLU(inplace=True),
        )

    @property
    def downsampling_factor(self) -> int:
        return 2 ** (self.stages + 1)


class _WithLinear(nn.Module):
    """A linear convolution plus a network that corrects it; both get the same input."""

    def __init__(self, linear: nn.Module, correction: nn.Sequential) -> None:
        super().__init__()
        self.linear, self.correction = linear, correction

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) + self.correction(x)


def _transforms(channels: int, latent: int, stages: int) -> tuple[_WithLinear, _WithLinear]:
    """Analysis and synthesis: a linear block transform and its correction, initially zero.

    The convolutions work at a quarter of the side, which takes a third of the time of CompressAI networks::

        pixels ─ unshuffle 4 ─ conv ─ GDN ─ conv ─ GDN ─(conv /2 ─ GDN)─ conv /2 ─ latents
        pixels ─   shuffle 4 ─ conv ─ IGDN ─ conv ─ IGDN ─(shuffle 2 ─ conv ─ IGDN)─ shuffle 2 ─ conv ─ latents
    """
    block, patch = 2**stages, 3 * _PATCH**2
    inner: list[nn.Module] = [
        nn.PixelUnshuffle(_PATCH),
        conv(patch, channels, kernel_size=3, stride=1),
        GDN(channels),
        conv(channels, channels, kernel_size=3, stride=1),
    ]
    outer: list[nn.Module] = [
        conv(channels, channels, kernel_size=3, stride=1),
        GDN(channels, inverse=True),
        conv(channels, patch, kernel_size=3, stride=1),
        nn.PixelShuffle(_PATCH),
    ]
    for stage in range(2, stages):
        width = latent if stage == stages - 1 else channels
        inner += [GDN(channels), conv(channels, width)]
        widened = conv(width, 4 * channels, kernel_size=3, stride=1)
        outer = [widened, nn.PixelShuffle(2), GDN(channels, inverse=True), *outer]
    if stages == 2:
        inner += [GDN(channels), conv(channels, latent, kernel_size=3, stride=1)]
        outer = [conv(latent, channels, kernel_size=3, stride=1), GDN(channels, inverse=True), *outer]
    for last in (inner[-1], outer[-2]):
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    analysis = _WithLinear(nn.Conv2d(3, latent, block, block), nn.Sequential(*inner))
    return analysis, _WithLinear(nn.ConvTranspose2d(latent, 3, block, block), nn.Sequential(*outer))


@torch.no_grad()
def start_from_components(network: CompressionModel, images: Sequence[np.ndarray], rate: float) -> None:
    """Initialise a network as the best linear codec: principal components of image blocks, coded at ``rate``.

    From random weights, training takes tens of thousands of steps to reach this point.

    Args:
        network: from :func:`build`; changed in place.
        images: uint8 (N, H, W, 3) each.
        rate: bits per pixel, as the entropy of the rounded components.
    """
    block = 2**network.stages
    mean = np.concatenate([some.reshape(-1, 3) for some in images]).mean(axis=0) / 255
    blocks = np.concatenate([_blocks(some, block) for some in images]) / 255 - np.repeat(mean, block**2)
    _, vectors = np.linalg.eigh(blocks.T @ blocks)
    vectors = vectors[:, ::-1][:, : network.M]
    components = blocks @ vectors
    low, high = np.log(1e-3), np.log(10.0)
    for _ in range(20):
        step = np.exp((low + high) / 2)
        bits = sum(_entropy(np.rint(one / step)) for one in components.T) / block**2
        low, high = (np.log(step), high) if bits > rate else (low, np.log(step))
    kernels = torch.from_numpy(np.ascontiguousarray(vectors.T).reshape(-1, 3, block, block).astype(np.float32))
    given, back = network.g_a.linear, network.g_s.linear
    given.weight[: len(kernels)] = kernels / step
    given.bias[: len(kernels)] = -(kernels * torch.from_numpy(mean).float()[:, None, None]).sum(dim=(1, 2, 3)) / step
    back.weight[: len(kernels)] = kernels * step
    back.bias[:] = torch.from_numpy(mean).float()
    if isinstance(network, FactorizedPrior):
        _spread(network.entropy_bottleneck, components.std(axis=0) / step)


def _spread(bottleneck: EntropyBottleneck, deviations: np.ndarray) -> None:
    """Initialise the width of each channel's density from the spread of its values."""
    layers = len(bottleneck.filters) + 1
    wide = torch.from_numpy(np.maximum(0.08, 0.6 * deviations)).float()  # logistic: deviation = 1.8 scale
    scales = wide ** (1 / layers)
    for layer, matrix in enumerate(bottleneck.matrices):
        outputs = (*bottleneck.filters, 1)[layer]
        matrix[: len(scales)] = torch.log(torch.expm1(1 / scales / outputs))[:, None, None]
    reach = wide * float(bottleneck.target[2])
    bottleneck.quantiles[: len(wide), 0, 0], bottleneck.quantiles[: len(wide), 0, 2] = -reach, reach


def _blocks(images: np.ndarray, block: int) -> np.ndarray:
    """Complete blocks of images uint8 (N, H, W, 3): float64 (blocks, 3 block^2)."""
    height, width = (side // block for side in images.shape[1:3])
    cut = images[:: max(1, len(images) // 1000), : height * block, : width * block].astype(np.float64)
    return cut.reshape(-1, height, block, width, block, 3).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 3 * block**2)


def _entropy(values: np.ndarray) -> float:
    shares = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(shares * np.log2(shares)).sum())


def build(architecture: Architecture) -> CompressionModel:
    """An untrained network; its name is ``factorized`` or ``hyperprior``.

    Raises:
        UsageError: an unknown architecture.
    """
    kinds = {"factorized": Factorized, "hyperprior": Hyperprior}
    given: dict[str, Any] = {**architecture}
    name = given.pop("name", None)
    sizes = ("channels", "latent", "stages")
    if name not in kinds or set(given) != set(sizes) or not all(_is_size(given[key]) for key in sizes):
        raise UsageError(f"a neural codec must be {' or '.join(kinds)} with {', '.join(sizes)}, got {architecture}")
    if not 2 <= given["stages"] <= 5:
        raise UsageError(f"a neural codec must have 2 to 5 stages, got {given['stages']}")
    return kinds[name](**given)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 512


def prepare_tables(network: CompressionModel, images: Sequence[np.ndarray] = ()) -> dict[str, np.ndarray]:
    """Prepare a trained network for coding: round it to float16, add entropy tables, and return its state.

    Args:
        network: in evaluation mode, on the CPU; changed in place.
        images: training images, uint8 (N, H, W, 3) each; latent channels that are constant on them are left out of
            streams.
    """
    bottleneck = network.entropy_bottleneck
    with torch.no_grad():
        bottleneck.update(force=True, update_quantiles=True)
        for one in network.parameters():
            one.copy_(one.half().float())
        bottleneck.update(force=True)
        if isinstance(network, ScaleHyperprior):
            network.gaussian_conditional.update()
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    if images and isinstance(network, FactorizedPrior):
        lowest, highest = FactorizedModel(network, "", "", 0).range_of_values(images)
        silent = lowest == highest
        state["entropy_bottleneck._quantized_cdf"][silent, :2] = 0, _CDF_TOTAL
        state["entropy_bottleneck._offset"][silent] = lowest[silent]
        state["entropy_bottleneck._cdf_length"][silent] = 2
    parameters = {name for name, _ in network.named_parameters()}
    return {name: array.astype(np.float16) if name in parameters else array for name, array in state.items()}


def keep_decoder(network: CompressionModel, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state with the encoder weights of a network; stored exemplars decode as before."""
    new = {
        name: value.detach().half().numpy()
        for name, value in network.named_parameters()
        if name.startswith(("g_a.", "h_a."))
    }
    return {**state, **new}


def load_state(network: CompressionModel, state: Mapping[str, np.ndarray]) -> None:
    """Load the arrays of a model file into a network; float16 becomes float32.

    Raises:
        UsageError: they belong to another architecture.
    """
    tensors = {
        name: torch.from_numpy(array.astype(np.float32) if array.dtype == np.float16 else array.copy())
        for name, array in state.items()
    }
    try:
        network.load_state_dict(tensors)
    except (RuntimeError, KeyError) as error:
        raise UsageError(f"weights of another architecture: {one_line(error)[:200]}") from error


def open_model(path: Path) -> Model:
    """The model in a file of ours, or in a state dict of the CompressAI zoo.

    Raises:
        UsageError: a missing file, or an unknown model.
    """
    manifest = read_model_manifest(path)
    if manifest is None:
        return _from_state_dict(path)
    state = read_model_state(path)
    try:
        network = build(manifest.architecture)
        load_state(network, state)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return _ready(network, manifest.architecture["name"], manifest.decoder, manifest.weights_bytes)


def open_zoo_model(name: str, quality: int, metric: str) -> Model:
    """A pretrained CompressAI model, downloaded if necessary.

    Raises:
        UsageError: there is no such model.
        WorkError: its weights are not here and cannot be downloaded; the message names file and folder.
    """
    variable = name.endswith("-vbr")
    try:
        make = zoo.image_models[name]
        with contextlib.redirect_stdout(sys.stderr):  # torch reports downloads on stdout, which is for results
            network = make(quality=0 if variable else quality, metric=metric, pretrained=True, progress=True)
    except OSError as error:  # urllib's errors are of this kind
        wanted = weights_files(name, metric)[quality]
        raise WorkError(
            f"neural: the weights {wanted.name} are not here and could not be downloaded ({one_line(error)}): "
            f"put that file into {wanted.parent}"
        ) from error
    except (KeyError, ValueError, RuntimeError) as error:
        asked = f"model={name},quality={quality},metric={metric}"
        raise UsageError(f"neural: CompressAI has no weights for {asked}: {one_line(error)}") from error
    return _of_network(network, name, quality - 1 if variable else None)


def weights_files(name: str, metric: str) -> dict[int, Path]:
    """Paths of the weights of a zoo model after download, by quality; the files may not exist yet.

    All qualities of a variable-rate model are in one file.
    """
    from compressai.zoo import image, image_vbr

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    # for names with -relu, CompressAI 1.2.8 loads the weights of the model without
    urls = {**image.model_urls, **image_vbr.model_urls}.get(name.removesuffix("-relu"), {}).get(metric, {})
    by_quality = dict.fromkeys(range(1, 9), urls) if isinstance(urls, str) else urls
    return {quality: folder / url.rsplit("/", 1)[-1] for quality, url in by_quality.items()}


def _from_state_dict(path: Path) -> Model:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        state = loaded.get("state_dict", loaded)
        kind, name = _kind_of(state)
        network = kind.from_state_dict(zoo.load_state_dict(dict(state)))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    except Exception as error:  # torch and pickle raise a dozen types for other files
        raise UsageError(
            f"{path} does not contain a known neural codec: expected a file of recallrate neural train, or the "
            "state dict of a CompressAI image model"
        ) from error
    return _of_network(network, name, None)


def _kind_of(state: Mapping[str, torch.Tensor]) -> tuple[Any, str]:
    """The CompressAI architecture with these weights."""
    names = set(state)
    if "g_a.6.weight" not in names and "g_a.0.conv1.weight" not in names:
        raise UsageError("not a neural codec: it has no weights of a CompressAI analysis transform")
    if any(name.startswith("context_prediction") for name in names):
        name = "cheng2020-anchor" if "g_a.0.conv1.weight" in names else "mbt2018"
        if any(".conv_a." in key for key in names):
            name = "cheng2020-attn"
    elif not any(name.startswith("h_a.") for name in names):
        relu = "g_a.1.beta" not in names
        name = "bmshj2018-factorized-relu" if relu else "bmshj2018-factorized"
    else:
        means = len(state["h_s.4.weight"]) != len(state["g_a.6.weight"])
        name = "mbt2018-mean" if means else "bmshj2018-hyperprior"
        if "Gain" in names:
            raise UsageError("variable rates from a file are not supported: use neural:model=NAME-vbr,quality=Q")
    known = zoo.image.model_architectures
    return known.get(name) or known[name.replace("-f", "_f").replace("-r", "_r")], name


def _of_network(network: CompressionModel, name: str, level: int | None) -> Model:
    network.eval()
    network.update()
    state = {key: value.detach().numpy() for key, value in network.state_dict().items()}
    # tables computed on another machine may differ slightly; if they are stored with exemplars, the stored ones count
    named = state if is_autoregressive(network) or level is not None else without_tables(state)
    return _ready(network, name, decoder_digest(named), weights_bytes(state), level)


def _ready(network: CompressionModel, name: str, decoder: str, weights: int, level: int | None = None) -> Model:
    network.eval().requires_grad_(False)
    if level is None and isinstance(network, FactorizedPrior):
        return FactorizedModel(network, name, decoder, weights)
    if level is None and type(network) in (ScaleHyperprior, MeanScaleHyperprior, Hyperprior):
        return HyperpriorModel(network, name, decoder, weights, isinstance(network, MeanScaleHyperprior))
    return OwnStreamsModel(network, name, decoder, weights, level)
