"""Exemplars as ordinary image files."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import IO

from toolkit.foundation.files import write_atomically
from toolkit.memory.rows import Damaged
from toolkit.memory.sharded import ShardedMemory
from toolkit.memory.store import ExemplarMemory


def export_files(memory: ExemplarMemory | ShardedMemory, folder: Path) -> tuple[int, list[Damaged]]:
    """Write each intact exemplar to ``folder/class/rank.ext``; the number written, and the damaged ones left out.

    Exemplars without a file format of their own, ``raw`` ones for instance, are written as PNG. The files of one class
    sort in selection order.

    Raises:
        WorkError: the folder cannot be written.
    """
    from toolkit.codecs.spec import parse_codec

    written = 0
    damaged: list[Damaged] = []
    png = parse_codec("png:shared=no")
    for label, name in memory.class_names.items():
        payloads, left_out = memory.payloads(label)
        damaged += left_out
        missing = {item.rank for item in left_out}
        ranks = [rank for rank in range(memory.class_counts[label]) if rank not in missing]
        directory = Path(folder) / (re.sub(r"[^\w.-]+", "_", name).strip(".") or str(label))
        for rank, payload in zip(ranks, payloads, strict=True):
            extension, file = memory.codec.extension, memory.codec.to_file(payload)
            if extension in ("rgb", ""):
                extension, file = "png", png.encode(memory.codec.decode([payload]))[0]
            write_atomically(directory / f"{rank:06d}.{extension}", partial(_put, file))
            written += 1
    return written, damaged


def _put(data: bytes, out: IO[bytes]) -> None:
    out.write(data)
