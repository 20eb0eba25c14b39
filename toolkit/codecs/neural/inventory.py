"""List the neural codecs that a grid can name, and whether their weights are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from toolkit.codecs.neural.codec import SLOW, SMALL, SMALL_FOLDER, SMALL_QUALITIES, ZOO, highest_quality
from toolkit.codecs.neural.model_file import read_model_manifest
from toolkit.foundation.errors import UsageError


class ModelRow(TypedDict):
    """A model: ``weights`` says whether they are here, missing, or downloaded when first used."""

    spec: str
    architecture: str
    weights: str
    note: str


class ListedModels(TypedDict):
    """The ``neural list`` JSON."""

    models: list[ModelRow]


def known_models(folder: Path | None = None) -> list[ModelRow]:
    """One row per model.

    Args:
        folder: folder of further model files.

    Raises:
        UsageError: not a folder, or a model file in it is damaged.
    """
    small = [
        (f"neural:model={SMALL},quality={q}", SMALL_FOLDER / f"{SMALL}-{q}.npz") for q in range(1, SMALL_QUALITIES + 1)
    ]
    rows = [_of_file(spec, path) for spec, path in small]
    if folder is not None:
        if not folder.is_dir():
            raise UsageError(f"{folder} is not a folder")
        rows += [_of_file(f"neural:checkpoint={path}", path) for path in sorted(folder.glob("*.npz"))]
    return rows + [_of_zoo(name) for name in ZOO]


def _of_file(spec: str, path: Path) -> ModelRow:
    manifest = read_model_manifest(path) if path.exists() else None
    if manifest is None:
        return {
            "spec": spec,
            "architecture": "",
            "weights": "missing" if not path.exists() else "no model file",
            "note": "",
        }
    trained = manifest.trained
    note = f"{trained.get('rate', '?')} bpp on {trained.get('dataset', '?')}; decoder of {manifest.weights_bytes} B"
    return {"spec": spec, "architecture": manifest.architecture.get("name", ""), "weights": "here", "note": note}


def _of_zoo(name: str) -> ModelRow:
    from toolkit.codecs.neural.networks import weights_files

    here = [str(quality) for quality, path in weights_files(name, "mse").items() if path.exists()]
    note = "autoregressive: seconds per image, not for exemplars" if name in SLOW else "for photographs"
    return {
        "spec": f"neural:model={name},quality=1..{highest_quality(name)}",
        "architecture": name,
        "weights": f"here: quality {', '.join(here)}" if here else "downloaded when first used",
        "note": note,
    }
