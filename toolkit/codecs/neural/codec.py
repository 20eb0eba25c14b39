"""``neural``: trained image codecs as exemplar codecs.

``neural:model=small,quality=2``                   included model for 32 to 64 pixels, three rates
``neural:model=bmshj2018-hyperprior,quality=3``    CompressAI zoo, for photographs
``neural:checkpoint=FILE``                         a file of ``recallrate neural train``, or a CompressAI state dict

Entropy tables and the decoder's digest are stored with the exemplars; the decoder's weights are not.
"""

from __future__ import annotations

import functools
import hashlib
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toolkit.codecs.base import Size
from toolkit.codecs.fixed_size import SHARED_SIZE, FixedSizeCodec
from toolkit.codecs.kind import CodecKind
from toolkit.codecs.neural.model_file import DIGEST_DIGITS, ModelManifest, read_model_manifest
from toolkit.codecs.neural.rans import Tables
from toolkit.foundation.errors import UsageError, WorkError, describe_os_error, one_line
from toolkit.foundation.parameters import Parameter, Value

if TYPE_CHECKING:
    from toolkit.codecs.neural.coding import Model

SMALL = "small"
SMALL_QUALITIES = 3
ZOO = (
    "bmshj2018-factorized",
    "bmshj2018-factorized-relu",
    "bmshj2018-hyperprior",
    "mbt2018-mean",
    "mbt2018",
    "cheng2020-anchor",
    "cheng2020-attn",
    "bmshj2018-hyperprior-vbr",
    "mbt2018-mean-vbr",
    "mbt2018-vbr",
)
SLOW = ("mbt2018", "cheng2020-anchor", "cheng2020-attn", "mbt2018-vbr")
"""Autoregressive models: one decoder step per pixel of the latents."""
SMALL_FOLDER = Path(__file__).with_name("weights")
_WEIGHTS = struct.Struct("<I")
"""Size of the decoder's weights in bytes."""
_MAGIC = b"RRN1"
MAX_NEURAL_PIXELS = 2**20
"""Maximum size of an image, 1024 x 1024: networks take 100 to 600 bytes per pixel."""
_lock = threading.Lock()


class NeuralCodec(FixedSizeCodec):
    """A model as a codec, loaded on first use.

    Args:
        spec: canonical.
        source: opens the model.
        charge_weights: whether shared bytes include the decoder's weights.
        devices: number of devices that share the weights.
    """

    runs_network = True
    most_pixels = MAX_NEURAL_PIXELS
    least_state = SHARED_SIZE.size + _WEIGHTS.size + DIGEST_DIGITS // 2
    size_name, state_name = "the shared state", "the shared state"

    def __init__(self, spec: str, source: _Source, charge_weights: bool, devices: int) -> None:
        self._spec = spec
        self._source = source
        self._charged = charge_weights
        self._devices = devices
        self._decoder: str | None = None
        self._weights = 0
        self._tables: Tables | None = None
        self._rest = b""

    def __str__(self) -> str:
        return self._spec

    def learn(self, images: np.ndarray) -> None:
        model = self._model()
        self._tables = model.tables
        self._decoder, self._weights = model.decoder, model.weights_bytes
        tables = b"" if model.tables is None else model.tables.to_bytes()
        self._rest = _WEIGHTS.pack(self._weights) + bytes.fromhex(model.decoder) + tables

    def encode_images(self, images: np.ndarray) -> list[bytes]:
        return self._model().encode(images, self._tables)

    def decode_images(self, payloads: Sequence[bytes], size: Size) -> np.ndarray:
        model = self._model()
        if self._tables is not None and len(self._tables) != len(model.tables or ()):
            raise WorkError(f"{self}: the stored entropy tables have {len(self._tables)} rows, not the model's")
        try:
            return model.decode(payloads, size, self._tables)
        except (WorkError, RuntimeError, ValueError, IndexError) as error:  # torch's memory runs out as RuntimeError
            raise WorkError(f"{self}: {one_line(error)}") from None

    def to_file(self, payload: bytes) -> bytes:
        if self._size is None or self._decoder is None:
            raise WorkError(f"{self}: the shared state is missing; fit or load it first")
        head = SHARED_SIZE.pack(*self._size) + _WEIGHTS.pack(self._weights)
        return _MAGIC + bytes.fromhex(self._decoder) + head + payload

    def rest_of_shared(self) -> bytes:
        return self._rest

    def load_rest(self, rest: bytes, size: Size) -> None:
        head = _WEIGHTS.size + DIGEST_DIGITS // 2
        self._tables = Tables.from_bytes(rest[head:]) if len(rest) > head else None
        (self._weights,) = _WEIGHTS.unpack_from(rest)
        self._decoder = rest[_WEIGHTS.size : head].hex()
        self._rest = rest

    def shared_bytes(self) -> int:
        return super().shared_bytes() + (-(-self._weights // self._devices) if self._charged else 0)

    def weights_bytes(self) -> int:
        return self._weights or self._source.weights_bytes()

    def require_model(self) -> None:
        """Require the model that stored streams need.

        Raises:
            WorkError: it is missing or has been replaced; the message names it.
        """
        self._model()

    def _model(self) -> Model:
        """The model, if it is the one the exemplars were encoded with.

        Raises:
            WorkError: it is missing or has been replaced; the message names it.
        """
        wanted = f"; stored exemplars need decoder {self._decoder}" if self._rest else ""
        try:
            model = self._source.open()
        except (UsageError, WorkError) as error:
            if not self._rest:
                raise
            raise WorkError(f"{error}{wanted}") from error
        if self._decoder not in (None, model.decoder):
            raise WorkError(f"{self}: {self._source.name} has decoder {model.decoder}{wanted}")
        return model


class _Source:
    """Source of a model: a file, with the decoder of ``digest`` if given, or the zoo."""

    def __init__(
        self, model: str, quality: int = 0, metric: str = "", path: Path | None = None, digest: str | None = None
    ) -> None:
        self._model, self._quality, self._metric, self.path, self.digest = model, quality, metric, path, digest

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self._model}, quality {self._quality}" if self._quality else self._model

    def open(self) -> Model:
        """The model, loaded once per process.

        Raises:
            UsageError: its file is missing, damaged or contains another decoder.
            WorkError: it cannot be downloaded.
        """
        self.require_decoder()
        with _lock:
            if self.path is None:
                return _zoo_model(self._model, self._quality, self._metric)
            return _file_model(*_stamp(self.path))

    def manifest(self) -> ModelManifest | None:
        """The manifest of a file; None for the zoo and for CompressAI files."""
        return None if self.path is None else _file_manifest(*_stamp(self.path))

    def require_decoder(self) -> None:
        """Refuse a file with a decoder other than that of the digest."""
        found = None if self.digest is None else _digest_of(self)
        if found != self.digest:
            raise UsageError(
                f"neural: {self.path} contains another decoder ({found}) than digest={self.digest}: "
                "restore the file, or remove digest to use this decoder"
            )

    def weights_bytes(self) -> int:
        """Bytes of the decoder's weights; loads the model if its file does not state them."""
        manifest = self.manifest()
        return self.open().weights_bytes if manifest is None else manifest.weights_bytes


def _stamp(path: Path) -> tuple[Path, int, int]:
    """Path, modification time and size, as a key for cached contents; called for every batch."""
    try:
        found = path.stat()
    except OSError as error:
        raise UsageError(describe_os_error(error, "read the neural codec", path)) from error
    return path, found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=16)
def _file_manifest(path: Path, changed: int, size: int) -> ModelManifest | None:
    return read_model_manifest(path)


@functools.lru_cache(maxsize=16)
def _file_digest(path: Path, changed: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGEST_DIGITS]


@functools.lru_cache(maxsize=4)
def _file_model(path: Path, changed: int, size: int) -> Model:
    from toolkit.codecs.neural.networks import open_model

    return open_model(path)


@functools.lru_cache(maxsize=2)
def _zoo_model(name: str, quality: int, metric: str) -> Model:
    from toolkit.codecs.neural.networks import open_zoo_model

    return open_zoo_model(name, quality, metric)


def _digest_of(source: _Source) -> str:
    """Digest of the decoder without loading the network; digest of the whole file for CompressAI files."""
    manifest = source.manifest()
    if manifest is not None:
        return manifest.decoder
    assert source.path is not None
    return _file_digest(*_stamp(source.path))


def _neural(
    metric: str,
    charge_weights: bool,
    devices: int,
    model: str | None = None,
    quality: int | None = None,
    checkpoint: str | None = None,
    digest: str | None = None,
) -> NeuralCodec:
    if (model is None) == (checkpoint is None):
        raise UsageError(
            f"neural needs either model={SMALL},quality=1..{SMALL_QUALITIES}, a CompressAI model "
            f"({', '.join(ZOO)}) with quality=1..8, or checkpoint=FILE of recallrate neural train"
        )
    if devices > 1 and not charge_weights:
        raise UsageError(f"neural: devices={devices} has no effect without charge_weights=yes")
    values: dict[str, Value | None] = {
        "model": model,
        "quality": quality,
        "checkpoint": checkpoint,
        "metric": metric,
        "charge_weights": charge_weights,
        "devices": devices,
    }
    if checkpoint is not None:
        if quality is not None or metric != METRIC.default:
            raise UsageError("neural: quality and metric require model=, a checkpoint has its own")
        source = _Source(Path(checkpoint).name, path=Path(checkpoint), digest=digest)
        values["digest"] = source.digest = digest or _digest_of(source)
        return NeuralCodec(NEURAL.spec(values), source, charge_weights, devices)
    if digest is not None:
        raise UsageError("neural: digest requires checkpoint=FILE")
    assert model is not None
    highest = highest_quality(model)
    if quality is None or quality > highest:
        raise UsageError(f"neural: quality of model={model} must be 1..{highest}, got {quality}")
    if model == SMALL and metric != METRIC.default:
        raise UsageError(f"neural: model={SMALL} has no metric to choose")
    path = SMALL_FOLDER / f"small-{quality}.npz" if model == SMALL else None
    source = _Source(model, quality, metric, path)
    return NeuralCodec(NEURAL.spec(values), source, charge_weights, devices)


def highest_quality(model: str) -> int:
    """Highest quality of a model; the lowest is 1."""
    return SMALL_QUALITIES if model == SMALL else 6 if model.startswith("cheng") else 8


def _check(checkpoint: str | None = None, digest: str | None = None, **_: object) -> None:
    if checkpoint is not None:
        _Source(Path(checkpoint).name, path=Path(checkpoint), digest=digest).require_decoder()


METRIC = Parameter(str, "mse", choices=("mse", "ms-ssim"), help="training metric of the CompressAI model")
NEURAL = CodecKind(
    "neural",
    "a trained network; its weights are stored separately",
    _neural,
    {
        "model": Parameter(str, choices=(SMALL, *ZOO), help=f"{SMALL}, or a name from the CompressAI zoo"),
        "quality": Parameter(int, None, 1, 8, help="quality of the model; higher takes more bytes", always=True),
        "checkpoint": Parameter(Path, help="a file of recallrate neural train; specs store its absolute path"),
        "digest": Parameter(
            str,
            pattern=rf"[0-9a-f]{{{DIGEST_DIGITS}}}",
            words=f"{DIGEST_DIGITS} hexadecimal digits",
            help="digest of the decoder; added automatically",
        ),
        "metric": METRIC,
        "charge_weights": Parameter(bool, False, help="count the decoder's weights against the budget"),
        "devices": Parameter(int, 1, 1, 10**9, help="devices that share one copy of the charged weights"),
    },
    check=_check,
)
