"""A chunk on its way to Redis."""

from __future__ import annotations

from dataclasses import dataclass

from celerant._core import Chunk
from celerant.dispatch.journaling import Mark

__all__ = ["Flight", "is_in"]


@dataclass(slots=True)
class Flight:
    """A chunk whose reply is awaited."""

    chunk: Chunk
    buffer: bytes
    #: Between MULTI and EXEC.
    commands: int
    #: The mark's number once it is in.
    step: int
    #: Commands of its journal that go before, and how many they are.
    before: bytes = b""
    beside: int = 0


def is_in(value: int | None, step: int) -> bool | None:
    """Whether a chunk is in, by the mark and what it was to be; None: it cannot say."""
    return None if value is None else Mark.of(value).covers(Mark.of(step))
