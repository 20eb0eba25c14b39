"""Payloads of JPEG files without what all share, and with their coefficients coded by the context model.

::

    payload:  checksum (5 bits), parts (3 bits)
              own header: its length, and the header deflated with the shared one as dictionary
              own end: its length, and the bytes after the scan other than the end marker
              stream of the coefficients
    or:       checksum (2 bytes), and what follows the shared header, without the end marker; all of the file, deflated
              likewise; or all of it as JPEG XL

A file whose scan is not written again to the byte by this code (progressive, arithmetic-coded, with restart intervals
or 12 bits, damaged) is stored whole, so restoring is always exact.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import imagecodecs
import numpy as np

from toolkit.codecs.lossless_jpeg.frame import END, Frame, frame_of, scan_start
from toolkit.codecs.varint import read_varint, write_varint
from toolkit.foundation.errors import WorkError, one_line

MAGIC = b"\xff\xc1"
"""First bytes of a serialised packing; the runs of a :class:`~toolkit.codecs.shared_header.SharedHeader` are fewer."""
_OWN_HEADER, _OWN_END, _WHOLE = 1, 2, 4
_TRANSCODED, _PLAIN = _WHOLE | _OWN_HEADER, _WHOLE | _OWN_END
_CHECK_BITS, _PARTS_BITS = 5, 3
_CHECK = struct.Struct("<H")
_STANDARD_TABLES = bytes.fromhex(
    "ffc4001f0000010501010101010100000000000000000102030405060708090a0bffc400b5100002010303020403050504040000017d0102"
    "0300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a43"
    "4445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9"
    "aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffc4001f01000301"
    "01010101010101010000000000000102030405060708090a0bffc400b5110002010204040304070504040001027700010203110405213106"
    "1241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a35363738393a434445464748494a"
    "535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6"
    "b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa"
)
"""The segments of the Huffman tables of ITU-T T.81, annex K.3: nearly every encoder writes them."""
_MOST_DIGITS = 5
_MOST_FILE = 2**26
"""Maximum size of a restored header or whole file in bytes."""


@dataclass(frozen=True)
class ContextPacking:
    """The header that files have in common; see :class:`~toolkit.codecs.shared_header.SharedHeader`.

    Attributes:
        header: bytes before the scan; empty if there was no JPEG file to learn from.
        coding: of scans by :meth:`strip`: ``context``; ``huffman``, as they are; or ``jxl``, JPEG XL's own coding of
            JPEG files. Payloads say for themselves how they are coded.
    """

    header: bytes
    coding: str = "context"

    @classmethod
    def learn(cls, files: Sequence[bytes]) -> ContextPacking:
        """The most frequent header of ``files``, for scans under the context model."""
        starts = ((file, scan_start(file)) for file in files)
        headers = Counter(file[:start] for file, start in starts if start is not None)
        return cls(headers.most_common(1)[0][0] if headers else b"")

    def strip(self, file: bytes) -> bytes:
        """The payload of a file."""
        if self.coding != "context":
            transcoded = _transcoded(file) if self.coding == "jxl" else None
            return self._as_it_is(file) if transcoded is None else _sealed(_TRANSCODED, _checked(transcoded))
        start = len(self.header) if self.header and file.startswith(self.header) else scan_start(file)
        found = None if start is None else _read(file, start)
        if found is None:
            return self._as_it_is(file)
        from toolkit.codecs.lossless_jpeg import model

        frame, coefficients, end = found
        own = frame.header != self.header
        body = _counted(_deflated(frame.header, self.header)) if own else b""
        body += _counted(end) if end != END else b""
        parts = (_OWN_HEADER if own else 0) | (_OWN_END if end != END else 0)
        return _sealed(parts, body + model.encode_coefficients(coefficients, frame))

    def restore(self, payload: bytes) -> bytes:
        """The original file of a :meth:`strip` payload.

        Raises:
            WorkError: the payload is damaged.
        """
        parts = payload[0] & (1 << _PARTS_BITS) - 1 if payload else 0
        body, header, end = payload[1:], self.header, END
        if _sealed(parts, body) != payload:
            raise WorkError("a stored exemplar is damaged: its checksum does not match")
        if parts & _WHOLE and _checked(body := body[_CHECK.size :]) != payload[1:]:
            raise WorkError("a stored exemplar is damaged: its checksum does not match")
        if parts == _PLAIN:
            return header + body + END
        if parts == _TRANSCODED:
            return _transcoded_back(body)
        if parts & _WHOLE:
            return self._inflated(body)
        if parts & _OWN_HEADER:
            header, body = _taken(body)
            header = self._inflated(header)
        if parts & _OWN_END:
            end, body = _taken(body)
        from toolkit.codecs.lossless_jpeg import model, scan

        frame = frame_of(header)
        coefficients = None if frame is None else model.decode_coefficients(body, frame)
        written = None if frame is None or coefficients is None else scan.write_scan(coefficients, frame)
        if written is None:
            raise WorkError("a stored exemplar is damaged: its coefficients cannot be decoded")
        return header + written + end

    def to_bytes(self) -> bytes:
        """Serialised form."""
        return MAGIC + _deflated(self.header, _STANDARD_TABLES)

    @classmethod
    def from_bytes(cls, state: bytes) -> ContextPacking:
        """The packing from the result of :meth:`to_bytes`.

        Raises:
            WorkError: the state is damaged.
        """
        try:
            return cls(_bounded(zlib.decompressobj(-15, _STANDARD_TABLES), state[len(MAGIC) :]))
        except (zlib.error, WorkError) as error:
            raise WorkError(f"the shared header is damaged: {error}") from error

    def _as_it_is(self, file: bytes) -> bytes:
        """The payload of a file whose scan is not coded again."""
        if self.header and file.startswith(self.header) and file.endswith(END):
            return _sealed(_PLAIN, _checked(file[len(self.header) : -len(END)]))
        return _sealed(_WHOLE, _checked(_deflated(file, self.header)))

    def _inflated(self, content: bytes) -> bytes:
        try:
            return _bounded(zlib.decompressobj(-15, self.header), content)
        except zlib.error as error:
            raise WorkError(f"a stored exemplar is damaged: {error}") from error


def _read(file: bytes, start: int) -> tuple[Frame, np.ndarray, bytes] | None:
    """Frame, coefficients, and what follows the scan; None if the scan is not written again to the byte."""
    from toolkit.codecs.lossless_jpeg import scan

    frame = frame_of(file[:start])
    coefficients = None if frame is None else scan.read_scan(file, frame)
    if frame is None or coefficients is None:
        return None
    written = scan.write_scan(coefficients, frame)
    if written is None or not file.startswith(written, start):
        return None
    return frame, coefficients, file[start + len(written) :]


def _transcoded(file: bytes) -> bytes | None:
    """A JPEG file as JPEG XL, if that gives back the same bytes."""
    try:
        transcoded = bytes(imagecodecs.jpegxl_encode_jpeg(file, numthreads=1))
        return transcoded if imagecodecs.jpegxl_decode_jpeg(transcoded, numthreads=1) == file else None
    except (imagecodecs.JpegxlError, ValueError):  # not a JPEG file, or one of a kind that JPEG XL does not take
        return None


def _transcoded_back(body: bytes) -> bytes:
    try:
        return bytes(imagecodecs.jpegxl_decode_jpeg(body, numthreads=1))
    except (imagecodecs.JpegxlError, ValueError) as error:
        raise WorkError(f"a stored exemplar is damaged: {one_line(error)}") from error


def _deflated(content: bytes, dictionary: bytes) -> bytes:
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, dictionary)
    return coder.compress(content) + coder.flush()


def _bounded(decoder: zlib._Decompress, content: bytes) -> bytes:
    """All that was compressed.

    Raises:
        WorkError: it is more than :data:`_MOST_FILE`, or cut short.
    """
    found = decoder.decompress(content, _MOST_FILE)
    if not decoder.eof or decoder.unused_data:
        raise WorkError("a stored exemplar is damaged: its compressed bytes do not end where they should")
    return found


def _sealed(parts: int, body: bytes) -> bytes:
    check = zlib.crc32(body, parts) >> 32 - _CHECK_BITS
    return bytes([check << _PARTS_BITS | parts]) + body


def _checked(content: bytes) -> bytes:
    """Content with a checksum, where no stream of coefficients has one in its last state."""
    return _CHECK.pack(zlib.crc32(content) & 0xFFFF) + content


def _counted(content: bytes) -> bytes:
    return write_varint(len(content)) + content


def _taken(body: bytes) -> tuple[bytes, bytes]:
    """The :func:`_counted` content at the start, and what follows."""
    try:
        size, start = read_varint(body, 0, _MOST_DIGITS)
    except IndexError:
        size, start = len(body), 0
    if start + size > len(body):
        raise WorkError("a stored exemplar is damaged: it is shorter than it says")
    return body[start : start + size], body[start + size :]
