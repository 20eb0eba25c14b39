"""The spec grammar: ``jpeg:quality=50``, ``downscale:factor=2|webp:quality=60``, and grids of them.

A grid has lists of values in braces and ``;`` between codecs: ``jpeg:quality={10,30};png``.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from pathlib import Path

from toolkit.codecs.base import Codec, chain
from toolkit.codecs.features import FEATURES
from toolkit.codecs.file_formats import RAW
from toolkit.codecs.kind import CodecKind
from toolkit.codecs.original import ORIGINAL
from toolkit.codecs.registry import CODECS
from toolkit.codecs.store import STORE
from toolkit.foundation.errors import UsageError, quoted
from toolkit.foundation.parameters import Value, can_be_written, parse_assignments

MAX_WRAPPERS = 8
"""Maximum number of wrappers around a codec: eight halvings reduce 1024 pixels to 4."""
MAX_SETTINGS = 1000
"""Maximum number of settings in a grid."""
MAX_SPEC, MAX_GRID = 2**12, 2**16
"""Maximum length in characters; grids come from page addresses, specs from memory files."""
_BRACES = re.compile(r"\{([^{}]*)\}")
_FOLDERS = re.compile(r"(?<==)[^,|]*[/\\]")


def parse_codec(spec: str) -> Codec:
    """The codec of a spec.

    Raises:
        UsageError: an unknown name, key or value; the message lists the accepted ones.
    """
    *wrappers, innermost = _split(spec)
    kind, values = _parse_part(innermost)
    if kind.wraps:
        raise UsageError(f"{kind.name} wraps another codec: write for example {innermost}|jpeg:quality=50")
    if wrappers and not kind.images:
        raise UsageError(f"{kind.name} cannot follow '|': it stores no image")
    codec = kind.factory(**_with_codecs(kind, values))
    for place, part in reversed(list(enumerate(wrappers))):
        kind, values = _parse_part(part)
        if not kind.wraps:
            names = ", ".join(name for name, other in CODECS.items() if other.wraps)
            raise UsageError(f"{kind.name} cannot precede '|': only a wrapper can ({names})")
        if kind.outermost and place:
            raise UsageError(f"{kind.name} must come first: it takes the sources of images")
        codec = kind.factory(codec, **_with_codecs(kind, values))
    return codec


def expand_grid(grid: str) -> list[str]:
    """Canonical specs of all settings in a grid, in order and without duplicates.

    Raises:
        UsageError: an empty grid, more than :data:`MAX_SETTINGS` settings, unbalanced braces, or a setting that does
            not parse or cannot encode here.
    """
    specs = list(dict.fromkeys(str(parse_codec(spec)) for spec in _written(grid)))
    for canonical in specs:
        _check(canonical)
    if not specs:
        raise UsageError("the codec grid is empty: write codecs such as jpeg:quality={10,50};png")
    return specs


def grid_paths(grid: str) -> list[str]:
    """The files named in a grid; none is opened.

    Raises:
        UsageError: too many settings, unbalanced braces, or a setting that does not parse.
    """
    return [path for spec in _written(grid) for path in path_values(spec).values()]


def path_values(spec: str) -> dict[str, str]:
    """The files named in a spec, by key."""
    named = [_parse_part(part) for part in _split(spec) if part]
    return {key: str(values[key]) for kind, values in named for key in values if kind.parameters[key].kind is Path}


def short_spec(spec: str) -> str:
    """The spec for people and run names: paths reduced to file names."""
    return _FOLDERS.sub("", spec)


def spec_beside(spec: str, folder: Path) -> str:
    """Point a :func:`short_spec` to the files in ``folder``.

    Files that are not there are left unchanged, relative to the working directory.
    """
    for name in {Path(path).name for path in path_values(spec).values()}:
        place = str(folder.absolute() / name).replace("\\", r"\\")
        if (folder / name).is_file() and can_be_written(place):
            spec = re.sub(rf"(?<==){re.escape(name)}(?=[,|]|$)", place, spec)
    return spec


def with_store(grid: str, side: int | None) -> str:
    """A grid whose settings store all of an image with a shorter side; unchanged for None.

    Source files and features stay as they are, and so does what says its own store.
    """
    if side is None:
        return grid
    parts = [pattern for part in grid.split(";") if (pattern := part.strip())]
    kept = (ORIGINAL.name, FEATURES.name, STORE.name)
    specs = itertools.chain(*(_written(part) if part.startswith("{") else [part] for part in parts))
    return ";".join(
        spec if re.split(r"[:|]", spec)[0].strip() in kept else f"{STORE.name}:side={side}|{spec}" for spec in specs
    )


def without_store(spec: str) -> str:
    """A canonical spec without the store around it."""
    first, bar, rest = spec.partition("|")
    return rest if bar and first.partition(":")[0] == STORE.name else spec


def is_raw(spec: str) -> bool:
    """Whether a canonical spec stores uncompressed pixels."""
    return without_store(spec) == RAW.name


def is_lossless(spec: str) -> bool:
    """Whether decoding restores the exact pixels."""
    return parse_codec(spec).lossless


def stores_exactly(spec: str) -> bool:
    """Whether a canonical spec stores the pixels it is given, or those of the source in a store, without loss."""
    return is_lossless(without_store(spec))


def codec_family(spec: str) -> str:
    """The codec without its settings: ``jpeg``, ``webp lossless``, ``downscale | jpeg``, ``store | png``."""
    inside = without_store(spec)
    if inside != spec:
        return f"{STORE.name} | {codec_family(inside)}"
    names = [part.split(":")[0].strip() for part in _split(spec)]
    both_ways = names in (["webp"], ["jxl"])
    return f"{names[0]} lossless" if both_ways and is_lossless(spec) else " | ".join(names)


def require_decoder(codec: Codec) -> None:
    """Require that the codec can decode here, before many exemplars are reported as damaged.

    Raises:
        WorkError: a model that it needs is missing or has been replaced.
    """
    for part in chain(codec):
        if hasattr(part, "require_model"):
            part.require_model()


def code_alike(spec: str, other: str) -> bool:
    """Whether two canonical specs are equal apart from the locations of their files."""
    return _without_paths(spec) == _without_paths(other)


def _without_paths(spec: str) -> list[tuple[str, dict[str, Value]]]:
    parts = map(_parse_part, _split(spec))
    return [
        (kind.name, {key: value for key, value in values.items() if kind.parameters[key].kind is not Path})
        for kind, values in parts
    ]


def _check(canonical: str) -> None:
    for kind, values in map(_parse_part, _split(canonical)):
        if kind.check is not None:
            kind.check(**values)


def _split(spec: str) -> list[str]:
    """The parts of a spec, outermost first; counted before any codec is made."""
    if len(spec) > MAX_SPEC:
        raise UsageError(f"a codec spec must have at most {MAX_SPEC} characters, got {len(spec)}")
    parts = spec.split("|")
    if len(parts) > 1 + MAX_WRAPPERS:
        raise UsageError(f"a codec spec must have at most {MAX_WRAPPERS} wrappers, got {len(parts) - 1}")
    return [part.strip() for part in parts]


def _written(grid: str) -> list[str]:
    """All specs of a grid; counted before any is made."""
    if len(grid) > MAX_GRID:
        raise UsageError(f"a grid must have at most {MAX_GRID} characters, got {len(grid)}")
    options = [_options(pattern) for part in grid.split(";") if (pattern := part.strip())]
    count = sum(math.prod(map(len, one)) for one in options)
    if count > MAX_SETTINGS:
        given = f"{count}" if count < 10**9 else "more than 10^9"
        raise UsageError(f"a grid must have at most {MAX_SETTINGS} settings, got {given}")
    return ["".join(choice) for one in options for choice in itertools.product(*one)]


def _options(pattern: str) -> list[list[str]]:
    """The alternatives at each position of a pattern: a single text, or the choices in braces."""
    pieces = _BRACES.split(pattern)
    # re.split with one group alternates: text, braces' content, text, ...
    if any("{" in text or "}" in text for text in pieces[::2]):
        raise UsageError(f"unbalanced braces in {quoted(pattern)}: write for example jpeg:quality={{10,50}}")
    return [
        [choice.strip() for choice in piece.split(",")] if number % 2 else [piece]
        for number, piece in enumerate(pieces)
    ]


def _parse_part(part: str) -> tuple[CodecKind, dict[str, Value]]:
    name, _, arguments = part.partition(":")
    if name not in CODECS:
        raise UsageError(f"unknown codec {quoted(name)}: choose one of {', '.join(CODECS)}")
    kind = CODECS[name]
    return kind, parse_assignments(name, kind.parameters, arguments)


def _with_codecs(kind: CodecKind, values: Mapping[str, Value]) -> dict[str, Value | Codec]:
    """The values, with specs of inner codecs replaced by those codecs; no file is read."""
    named = {key for key, value in values.items() if kind.parameters[key].kind is Codec and value not in kind.words}
    return {key: _inside(str(value)) if key in named else value for key, value in values.items()}


def _inside(text: str) -> Codec | str:
    """The codec of a spec, or the text itself if that codec would wrap another, need a file or store no image."""
    kind = CODECS.get(text.partition(":")[0])
    if kind is not None and (
        kind.wraps or not kind.images or any(one.kind is Path for one in kind.parameters.values())
    ):
        return text
    return parse_codec(text)
