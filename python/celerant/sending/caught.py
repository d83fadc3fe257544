"""A group's source, of which all leaves that came before it raised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celerant.canvas.source import AsyncStream, Mapped, Stream

__all__ = ["Caught"]


class Caught:
    """A source that ends where it raises; what it raised is kept.

    So that all members that came before leave.
    """

    def __init__(self, items: Any) -> None:
        self._items = items
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._items
        except GeneratorExit:
            raise
        except BaseException as exc:  # noqa: BLE001 - told to whoever waits
            self.error = exc

    @property
    def at_hand(self) -> int | None:
        """How many items can be had without waiting; None: nobody knows."""
        items = self._items
        return items.at_hand if isinstance(items, AsyncStream) else None

    def close(self) -> None:
        """Have an event loop draw no more of them."""
        if isinstance(self._items, AsyncStream):
            self._items.close()

    @classmethod
    def of(cls, source: Any) -> tuple[Any, Caught | None]:
        """Return a group's source, and what catches its error if it may raise."""
        if isinstance(source, Stream):
            caught = cls(source)
            return caught, caught
        if isinstance(source, Mapped) and isinstance(source.items, Stream):
            caught = cls(source.items)
            made = Mapped(source.task, caught, source.options, star=source.star)
            return made, caught
        return source, None
