"""Limits for strangers' messages: their size, packed and unpacked, and their depth.

A message or a record of 1 MB may unpack to gigabytes, and text nested a thousand deep
parses to a value that later code cannot walk. Both are measured during unpacking.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kombu.compression import decompress, get_decoder

__all__ = ["NO_LIMITS", "Limits", "TooMuchError"]

#: Bytes that unpacking asks for at once, so that little is held before it is measured.
_STEP = 1 << 20
#: Bytes that a decompressor gets at once: it copies those that it leaves.
_SLICE = 1 << 12
#: How many streams may follow each other in one body; each costs time, even an empty
#: one.
_STREAMS = 10_000
#: How many bytes a decoder without a limit for its output gets: few bytes may unpack to
#: many.
_SIP = 16
#: lzma needs this much for its own strongest settings, for any data.
_LZMA_MEMORY = 100 << 20
#: How often pairs of brackets are taken away before values are walked one by one.
_PASSES = 32
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class TooMuchError(ValueError):
    """A message or record is larger, or deeper, than the settings allow."""


@dataclass(frozen=True)
class Limits:
    """Limits in bytes and levels; None is without limit."""

    #: ``celerant_message_size_limit``, in bytes.
    size: int | None = None
    #: ``celerant_message_depth_limit``: lists and objects inside each other.
    depth: int | None = None

    def check_size(self, size: int) -> None:
        """Refuse data that is too large as received.

        Raises:
            TooMuchError: It is too large or too deep.
        """
        if self.size is not None and size > self.size:
            msg = (
                f"it has {size:,} bytes, above celerant_message_size_limit "
                f"({self.size:,})"
            )
            raise TooMuchError(msg)

    def unpack(self, body: bytes | str, compression: str) -> bytes:
        """Return `body` unpacked.

        Args:
            body: The body as it came.
            compression: kombu's name or content type of its compression.

        Raises:
            TooMuchError: It is too large; the rest was not unpacked.
            Exception: The decoder's own, or kombu's `KeyError` for an unknown name.
        """
        raw = body.encode() if isinstance(body, str) else bytes(body)
        self.check_size(len(raw))
        decoder = get_decoder(compression)
        if self.size is None:
            return bytes(decoder(raw))
        unpacked, found = _unpacker(decoder), bytearray()
        if unpacked is None:
            # A compression of the user's own: its output is measured afterwards.
            whole = bytes(decompress(raw, compression))
            self._check_unpacked(len(whole))
            return whole
        for part in unpacked(raw):
            found += part
            self._check_unpacked(len(found))
        return bytes(found)

    def _check_unpacked(self, size: int) -> None:
        if self.size is not None and size > self.size:
            msg = (
                "it unpacks to more than celerant_message_size_limit "
                f"({self.size:,} bytes)"
            )
            raise TooMuchError(msg)

    def check_depth(self, value: Any, text: bytes | str | None = None) -> None:
        """Refuse a value that is nested too deep.

        Args:
            value: The value as it was read.
            text: The JSON that it was read from, if it was.

        Raises:
            TooMuchError: It is too large or too deep.
        """
        if self.depth is None:
            return
        if text is not None and not _may_be_deeper(text, self.depth):
            return
        if _depth_exceeds(value, self.depth):
            msg = (
                "it is nested deeper than celerant_message_depth_limit "
                f"({self.depth:,})"
            )
            raise TooMuchError(msg)


NO_LIMITS = Limits()


def _may_be_deeper(text: bytes | str, depth: int) -> bool:
    """Whether JSON may have more than `depth` levels; brackets in strings count too."""
    if len(text) <= 2 * depth:
        return False
    raw = text.encode(errors="replace") if isinstance(text, str) else text
    if raw.count(b"[") + raw.count(b"{") <= depth:
        return False
    left = raw.translate(None, _NO_BRACKETS)
    for _ in range(min(depth // 2, _PASSES)):
        # Each pass takes the innermost level away, or two of them, in C.
        left = left.replace(b"[]", b"").replace(b"{}", b"")
        if not left:
            return False
    return True


def _depth_exceeds(value: Any, most: int) -> bool:
    # Each is walked once: YAML may name one list a billion times, and pickle may put a
    # list into itself.
    level = {id(value): value}
    for _ in range(most):
        level = {id(part): part for whole in level.values() for part in _parts(whole)}
        if not level:
            return False
    return bool(level)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return iter(())
    return (part for part in value if isinstance(part, (dict, list, tuple)))


# -- unpackers -------------------------------------------------------------------------


def _by_object(make: Callable[[], Any]) -> Callable[[bytes], Iterator[bytes]]:
    """Return an unpacker for a decompressor like those of `bz2` or `zstd`."""

    def unpack(raw: bytes) -> Iterator[bytes]:
        # As with the modules' own `decompress`, streams may follow each other, and
        # rubbish may follow the last.
        view, at = memoryview(raw), 0
        for stream in range(_STREAMS):
            decompressor, has_given = make(), False
            while not decompressor.eof:
                given = view[at : at + _SLICE] if decompressor.needs_input else view[:0]
                if decompressor.needs_input and not given:
                    msg = "it ends before its end"
                    raise EOFError(msg)
                at += len(given)
                try:
                    part = decompressor.decompress(given, max_length=_STEP)
                except (OSError, lzma.LZMAError):
                    if not stream or has_given:
                        raise
                    return
                has_given = has_given or bool(part)
                yield part
            at -= len(decompressor.unused_data)
            if at == len(raw):
                return
        msg = f"it is packed in more than {_STREAMS:,} streams"
        raise TooMuchError(msg)

    return unpack


def _zlib(raw: bytes) -> Iterator[bytes]:
    decompressor = zlib.decompressobj()
    for at in range(0, len(raw), _SLICE):
        given = raw[at : at + _SLICE]
        while given and not decompressor.eof:
            yield decompressor.decompress(given, _STEP)
            given = decompressor.unconsumed_tail
    while not decompressor.eof:
        part = decompressor.decompress(b"", _STEP)
        if not part and not decompressor.eof:
            msg = "it ends before its end"
            raise EOFError(msg)
        yield part


def _zstandard(decompressor: Any) -> Callable[[bytes], Iterator[bytes]]:
    def unpack(raw: bytes) -> Iterator[bytes]:
        # A decompressor of its own: the package's are not safe between threads.
        with type(decompressor)().stream_reader(raw) as stream:
            while part := stream.read(_STEP):
                yield part

    return unpack


def _brotli(make: Callable[[], Any]) -> Callable[[bytes], Iterator[bytes]]:
    def unpack(raw: bytes) -> Iterator[bytes]:
        decompressor = make()
        for at in range(0, len(raw), _SIP):
            yield decompressor.process(raw[at : at + _SIP])
        if not decompressor.is_finished():
            msg = "it ends before its end"
            raise EOFError(msg)

    return unpack


def _lzma() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY)


_KNOWN: Mapping[Any, Callable[[bytes], Iterator[bytes]]] = {
    bz2.decompress: _by_object(bz2.BZ2Decompressor),
    lzma.decompress: _by_object(_lzma),
    zlib.decompress: _zlib,
}


def _unpacker(decoder: Any) -> Callable[[bytes], Iterator[bytes]] | None:
    """Return a decoder that unpacks piece by piece.

    Kombu's `decoder` does it at once.
    """
    known = _KNOWN.get(decoder)
    if known is not None:
        return known
    # kombu uses packages for brotli and zstd that may not be installed.
    module: Any = sys.modules.get(getattr(decoder, "__module__", None) or "")
    if hasattr(module, "ZstdDecompressor"):
        return _by_object(module.ZstdDecompressor)
    if hasattr(module, "Decompressor"):
        return _brotli(module.Decompressor)
    owner = getattr(decoder, "__self__", None)
    return _zstandard(owner) if hasattr(owner, "stream_reader") else None
