"""Marks: the keys by which a Redis tells how far a wire came.

One is enough outside of clusters. In a cluster a transaction has one slot, so each
queue's slot has its own mark.
"""

from __future__ import annotations

import os
import re

from celerant._core import Chunk

__all__ = ["Marks"]

#: The part of a key that decides its slot, if it has braces.
_TAG = re.compile(rb"[^{]*\{([^}]+)\}")
_LPUSH = re.compile(rb"LPUSH\r\n\$(\d+)\r\n")


class Marks:
    """Names of marks, under kombu's `global_keyprefix`."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode()
        self._token = os.urandom(16).hex().encode()
        #: The mark outside of clusters.
        self.common = b"%b_kombu.celerant.%b" % (self._prefix, self._token)
        #: Whether the server is part of a cluster.
        self.is_by_slot = False
        self._beside: dict[bytes, bytes] = {}

    def all(self) -> list[bytes]:
        """Return the names given so far."""
        return list(self._beside.values()) if self.is_by_slot else [self.common]

    def beside(self, key: bytes) -> bytes:
        """Return the mark that is in the slot of a key."""
        found = _TAG.match(key)
        tag = key if found is None else found[1]
        if tag not in self._beside:
            if _TAG.match(self._prefix):
                # It decides the slot of all keys.
                self._beside[tag] = self.common
            else:
                name = b"%b_kombu.celerant.{%b}.%b" % (self._prefix, tag, self._token)
                self._beside[tag] = name
        return self._beside[tag]

    def of_chunk(self, chunk: Chunk) -> dict[bytes, list[int]]:
        """Return the positions of a chunk's messages by their queues' marks."""
        count = len(chunk.wired())
        if len(chunk.by_route()) == 1:
            return {self.beside(_key(chunk)): list(range(count))}
        found: dict[bytes, list[int]] = {}
        for position in range(count):
            mark = self.beside(_key(chunk.select([position])))
            found.setdefault(mark, []).append(position)
        return found


def _key(chunk: Chunk) -> bytes:
    """Return the Redis list to which a chunk is pushed first."""
    buffer = chunk.redis(None, 0, bytes(16))[0]
    found = _LPUSH.search(buffer)
    assert found is not None  # noqa: S101 - the core writes it
    return buffer[found.end() : found.end() + int(found[1])]
