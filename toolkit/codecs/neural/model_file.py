"""Neural codecs as files: what ``recallrate neural train`` leaves behind and ``neural:checkpoint=FILE`` codes with.

An ``.npz`` of plain arrays, the network's state by name, and ``manifest.json``::

    {"format": "recallrate-neural", "version": 1,
     "architecture": {"name": "factorized", "channels": 64, "latent": 96, "stages": 3},
     "decoder": "1f0c...", "weights_bytes": 431000, "trained": {}}

``decoder`` names all that decoding needs, whatever the encoder is like: streams stay good for every file that has the
same. ``weights_bytes`` is what that takes, entropy tables aside, for they travel with the exemplars. ``trained`` says
where the weights come from and changes nothing. The manifest is read without the arrays, and nothing is executed.
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
from typing import Any

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
"""Bytes that all members inflate to (none gives more than it states); the largest of CompressAI's zoo have 2^27."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ModelManifest:
    """What a model file says of itself; see the module."""

    architecture: dict[str, Any]
    decoder: str
    weights_bytes: int
    trained: dict[str, Any] = field(default_factory=dict)


def write_model(
    path: str | Path, architecture: Mapping[str, Any], state: Mapping[str, np.ndarray], trained: Mapping[str, Any]
) -> ModelManifest:
    """Write a model file, atomically; the same content gives the same bytes.

    Args:
        path: of the file to make.
        architecture: as :func:`toolkit.codecs.neural.networks.build` takes it.
        state: arrays by name, entropy tables included; floats are kept as they are.
        trained: any JSON object.

    Raises:
        WorkError: the file cannot be written.
    """
    manifest = ModelManifest(dict(architecture), decoder_digest(state), weights_bytes(state), dict(trained))
    facts = {"format": FORMAT, "version": VERSION, **vars(manifest)}
    parts = {_MANIFEST: json.dumps(facts, indent=1).encode()} | {f"{n}.npy": _npy(a) for n, a in state.items()}

    def write(file: Any) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in parts.items():
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)

    write_atomically(Path(path), write)
    return manifest


def read_model_manifest(path: str | Path) -> ModelManifest | None:
    """What a model file says of itself; None if it is a file of another kind.

    Raises:
        UsageError: it cannot be read, is damaged, or a newer version has written it.
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
        return ModelManifest(
            dict(facts["architecture"]), str(facts["decoder"]), int(facts["weights_bytes"]), dict(facts["trained"])
        )
    except OSError as error:
        raise UsageError(describe_os_error(error, "read the neural codec", path)) from error
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, TypeError, EOFError, RecursionError) as error:
        raise UsageError(f"{path} is a damaged model file: {one_line(error)}") from error


def read_model_state(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a model file.

    Raises:
        UsageError: the file is damaged, or its decoder is not the one that its manifest names.
    """
    manifest = read_model_manifest(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            arrays = {name[:-4]: np.load(io.BytesIO(archive.read(name)), allow_pickle=False) for name in names}
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types for a damaged file
        raise UsageError(f"{path} is a damaged model file: {one_line(error)}") from error
    if manifest is None or decoder_digest(arrays) != manifest.decoder:
        raise UsageError(f"{path} is a damaged model file: its decoder is not the one that its manifest names")
    return arrays


def decoder_digest(state: Mapping[str, np.ndarray]) -> str:
    """Hexadecimal digits that change with anything decoding needs."""
    content = hashlib.sha256()
    for name in sorted(state):
        if name.startswith(_DECODER):
            array = np.ascontiguousarray(state[name])
            content.update(f"{name}|{array.dtype.str}|{array.shape}|".encode() + array.tobytes())
    return content.hexdigest()[:DIGEST_DIGITS]


def weights_bytes(state: Mapping[str, np.ndarray]) -> int:
    """Bytes of all that decoding needs but the entropy tables."""
    return sum(array.nbytes for name, array in without_tables(state).items() if name.startswith(_DECODER))


def without_tables(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that are no entropy tables."""
    return {name: array for name, array in state.items() if not name.endswith(_TABLES)}


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()
