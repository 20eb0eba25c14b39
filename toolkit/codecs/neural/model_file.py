"""Model files of neural codecs, written by ``recallrate neural train`` and used by ``neural:checkpoint=FILE``.

An ``.npz`` of plain arrays, the network's state by name, and ``manifest.json``::

    {"format": "recallrate-neural", "version": 1,
     "architecture": {"name": "factorized", "channels": 64, "latent": 96, "stages": 3},
     "decoder": "1f0c...", "weights_bytes": 431000, "trained": {}}

``decoder`` is a digest of everything that decoding needs, independent of the encoder: streams stay valid for every file
with the same digest. ``weights_bytes`` is its size without entropy tables, which are stored with the exemplars.
``trained`` records the origin of the weights and has no effect. The manifest is read without the arrays, and nothing is
executed.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypedDict, cast

import numpy as np

from toolkit.foundation.documents import parse_json, read_stream
from toolkit.foundation.errors import UsageError, describe_os_error, newer, one_line
from toolkit.foundation.files import write_atomically

FORMAT = "recallrate-neural"
VERSION = 1
DIGEST_DIGITS = 12
_MANIFEST = "manifest.json"
_DECODER = ("g_s.", "h_s.", "entropy_bottleneck.quantiles", "entropy_bottleneck._", "gaussian_conditional.")
_TABLES = ("._quantized_cdf", "._offset", "._cdf_length")
_MOST_MANIFEST = 2**20
_MOST_OURS, _MOST_OTHERS = 2**26, 2**28
"""Maximum total size of the uncompressed members; the largest of the CompressAI zoo have 2^27 bytes."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


class Architecture(TypedDict):
    """Name and sizes of a network, as for :func:`toolkit.codecs.neural.networks.build`."""

    name: str
    channels: int
    latent: int
    stages: int


@dataclass(frozen=True)
class ModelManifest:
    """The manifest of a model file; see the module."""

    architecture: Architecture
    decoder: str
    weights_bytes: int
    trained: dict[str, Any] = field(default_factory=dict)


def write_model(
    path: str | Path, architecture: Architecture, state: Mapping[str, np.ndarray], trained: Mapping[str, Any]
) -> ModelManifest:
    """Write a model file atomically; the same content gives the same bytes.

    Args:
        path: the file to write.
        architecture: as for :func:`toolkit.codecs.neural.networks.build`.
        state: arrays by name, including entropy tables; dtypes are preserved.
        trained: any JSON object.

    Raises:
        WorkError: the file cannot be written.
    """
    manifest = ModelManifest(architecture.copy(), decoder_digest(state), weights_bytes(state), dict(trained))
    facts = {"format": FORMAT, "version": VERSION, **vars(manifest)}
    parts = {_MANIFEST: json.dumps(facts, indent=1).encode()} | {f"{n}.npy": _npy(a) for n, a in state.items()}

    def write(file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in parts.items():
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)

    write_atomically(Path(path), write)
    return manifest


def read_model_manifest(path: str | Path) -> ModelManifest | None:
    """The manifest of a model file; None for files of another kind.

    Raises:
        UsageError: the file cannot be read, is damaged, or is from a newer version.
    """
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                return None
            with zipfile.ZipFile(file) as archive:
                is_ours = _MANIFEST in archive.namelist()
                most = _MOST_OURS if is_ours else _MOST_OTHERS
                if (inflated := sum(member.file_size for member in archive.infolist())) > most:
                    raise ValueError(f"it inflates to {inflated} bytes, expected at most {most}")
                if not is_ours:
                    return None
                facts = parse_json(read_stream(archive.open(_MANIFEST), _MOST_MANIFEST))
        if facts["format"] != FORMAT:
            return None
        if facts["version"] > VERSION:
            raise UsageError(newer(path, "version", facts["version"], VERSION))
        architecture = cast("Architecture", dict(facts["architecture"]))  # checked by build
        return ModelManifest(architecture, str(facts["decoder"]), int(facts["weights_bytes"]), dict(facts["trained"]))
    except OSError as error:
        raise UsageError(describe_os_error(error, "read the neural codec", path)) from error
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError, EOFError, RecursionError) as error:
        raise UsageError(f"{path} is a damaged model file: {one_line(error)}") from error


def read_model_state(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a model file.

    Raises:
        UsageError: the file is damaged, or its decoder is not the one named in its manifest.
    """
    manifest = read_model_manifest(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            arrays = {name[:-4]: np.load(io.BytesIO(archive.read(name)), allow_pickle=False) for name in names}
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types for a damaged file
        raise UsageError(f"{path} is a damaged model file: {one_line(error)}") from error
    if manifest is None or decoder_digest(arrays) != manifest.decoder:
        raise UsageError(f"{path} is a damaged model file: its decoder is not the one named in its manifest")
    return arrays


def decoder_digest(state: Mapping[str, np.ndarray]) -> str:
    """Hexadecimal digits that change with anything that decoding needs."""
    content = hashlib.sha256()
    for name in sorted(state):
        if name.startswith(_DECODER):
            array = np.ascontiguousarray(state[name])
            content.update(f"{name}|{array.dtype.str}|{array.shape}|".encode() + array.tobytes())
    return content.hexdigest()[:DIGEST_DIGITS]


def weights_bytes(state: Mapping[str, np.ndarray]) -> int:
    """Bytes of everything that decoding needs, without entropy tables."""
    return sum(array.nbytes for name, array in without_tables(state).items() if name.startswith(_DECODER))


def without_tables(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays without entropy tables."""
    return {name: array for name, array in state.items() if not name.endswith(_TABLES)}


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
