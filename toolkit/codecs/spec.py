"""The spec grammar: ``jpeg:quality=50``, ``downscale:factor=2|webp:quality=60``, and grids of them.

A grid puts braces round values and ``;`` between codecs: ``jpeg:quality={10,30};png``.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from toolkit.codecs.base import Codec, CodecKind, chain, codec_kinds
from toolkit.foundation.errors import UsageError
from toolkit.foundation.parameters import Value, can_be_written, parse_assignments

_BRACES = re.compile(r"\{([^{}]*)\}")
_FOLDERS = re.compile(r"(?<==)[^,|]*[/\\]")


def parse_codec(spec: str) -> Codec:
    """The codec a spec names.

    Raises:
        UsageError: unknown name, key or value; the message lists the accepted ones.
    """
    *wrappers, innermost = [part.strip() for part in spec.split("|")]
    kind, values = _parse_part(innermost)
    if kind.wraps:
        raise UsageError(f"{kind.name} wraps another codec: write {innermost}|jpeg:quality=50, for instance")
    codec = kind.factory(**values)
    for part in reversed(wrappers):
        kind, values = _parse_part(part)
        if not kind.wraps:
            names = ", ".join(name for name, other in codec_kinds().items() if other.wraps)
            raise UsageError(f"{kind.name} cannot stand before '|': only a wrapper can ({names})")
        codec = kind.factory(codec, **values)
    return codec


def expand_grid(grid: str) -> list[str]:
    """Canonical specs of every setting in a grid, in the order written, each once.

    Raises:
        UsageError: an empty grid, unbalanced braces, or a setting that does not parse or could not encode here.
    """
    specs: list[str] = []
    for pattern in (part.strip() for part in grid.split(";")):
        if not pattern:
            continue
        for spec in _expand_braces(pattern):
            canonical = str(parse_codec(spec))
            if canonical not in specs:
                _check(canonical)
                specs.append(canonical)
    if not specs:
        raise UsageError("the codec grid is empty: write codecs such as jpeg:quality={10,50};png")
    return specs


def grid_paths(grid: str) -> list[str]:
    """The files that a grid's settings name; none is opened.

    Raises:
        UsageError: unbalanced braces, or a setting that does not parse.
    """
    specs = [spec for pattern in grid.split(";") for spec in _expand_braces(pattern.strip())]
    return [path for spec in specs for path in path_values(spec).values()]


def path_values(spec: str) -> dict[str, str]:
    """The keys of a spec that name files, and the files."""
    named = [_parse_part(part.strip()) for part in spec.split("|") if part.strip()]
    return {
        key: str(values[key]) for kind, values in named for key in values if kind.parameters[key].kind is Path
    }  # fmt: skip


def short_spec(spec: str) -> str:
    """The spec as people and the names of runs want it: of a path only the file's own name."""
    return _FOLDERS.sub("", spec)


def spec_beside(spec: str, folder: Path) -> str:
    """A :func:`short_spec` whose files are those in ``folder``, where they lie there.

    Those that do not are left as they are: looked for in the working folder.
    """
    for name in {Path(path).name for path in path_values(spec).values()}:
        place = str(folder.absolute() / name).replace("\\", r"\\")
        if (folder / name).is_file() and can_be_written(place):
            spec = re.sub(rf"(?<==){re.escape(name)}(?=[,|]|$)", place, spec)
    return spec


def codec_family(spec: str) -> str:
    """The codec without its settings: ``jpeg``, ``webp lossless``, ``downscale | jpeg``."""
    names = [part.split(":")[0].strip() for part in spec.split("|")]
    lossless_webp = names == ["webp"] and parse_codec(spec).lossless
    return "webp lossless" if lossless_webp else " | ".join(names)


def require_decoder(codec: Codec) -> None:
    """Refuse a codec that cannot decode here, before many exemplars are reported damaged for it.

    Raises:
        WorkError: a model that it needs is missing or another one.
    """
    for part in chain(codec):
        if hasattr(part, "require_model"):
            part.require_model()


def code_alike(spec: str, other: str) -> bool:
    """Whether two canonical specs name the same coding, wherever the files they need may lie."""
    return _without_paths(spec) == _without_paths(other)


def _without_paths(spec: str) -> list[tuple[str, dict[str, Value]]]:
    parts = map(_parse_part, spec.split("|"))
    return [
        (kind.name, {key: value for key, value in values.items() if kind.parameters[key].kind is not Path})
        for kind, values in parts
    ]


def _check(canonical: str) -> None:
    for kind, values in map(_parse_part, canonical.split("|")):
        if kind.check is not None:
            kind.check(**values)


def _expand_braces(pattern: str) -> list[str]:
    pieces = _BRACES.split(pattern)
    # re.split with one group alternates: text, braces' content, text, ...
    if any("{" in text or "}" in text for text in pieces[::2]):
        raise UsageError(f"unbalanced braces in {pattern!r}: write jpeg:quality={{10,50}}, for instance")
    options = [
        [choice.strip() for choice in piece.split(",")] if number % 2 else [piece]
        for number, piece in enumerate(pieces)
    ]
    return ["".join(choice) for choice in itertools.product(*options)]


def _parse_part(part: str) -> tuple[CodecKind, dict[str, Value]]:
    name, _, arguments = part.partition(":")
    kinds = codec_kinds()
    if name not in kinds:
        raise UsageError(f"unknown codec {name!r}: choose one of {', '.join(kinds)}")
    kind = kinds[name]
    return kind, parse_assignments(name, kind.parameters, arguments)
