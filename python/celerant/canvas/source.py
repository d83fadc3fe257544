"""Sources of a group's members other than lists.

`Stream` is a generator that is consumed by its dispatch, `AsyncStream` one that an
event loop draws; `Mapped` is one task over many arguments, without a signature object
per item. The Rust core reads all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterable, Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any, Protocol, cast

from celerant._core import Table
from celerant.canvas.kinds import CLASSES
from celerant.errors import CanvasError

if TYPE_CHECKING:
    from celerant.canvas.signature import Signature

__all__ = ["AsyncStream", "Mapped", "Stream", "is_async", "stream_in"]


class Stream:
    """An iterable of signatures that can be gone through once.

    `hold` turns it into a list for good; without that, iterating a second time is
    a `CanvasError`.
    """

    __slots__ = ("_items", "_spent")

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items
        self._spent = False

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self._items, list):
            return iter(self._items)
        self.check()
        self._spent = True
        return iter(self._items)

    def check(self) -> None:
        """Refuse to be gone through a second time.

        Raises:
            CanvasError: It was gone through.
        """
        if self._spent:
            msg = (
                "this group was made from a generator and has been sent: its members "
                "are gone; make the group again, or from a list to send it twice"
            )
            raise CanvasError(msg, path="group")

    def peek(self) -> Any:
        """Return the first item, which stays the first; None if there is none."""
        return next(iter(self.ahead(1)), None)

    def ahead(self, count: int) -> list[Any]:
        """Return up to `count` items, which stay where they are."""
        if isinstance(self._items, list):
            return self._items[:count]
        if self._spent:
            return []
        rest = iter(self._items)
        found: list[Any] = []
        try:
            found += itertools.islice(rest, count)
        except BaseException as exc:
            # Python has ended it. A send of it must raise too, and not look complete.
            self._items = itertools.chain(found, _raising(exc))
            raise
        whole = len(found) < count
        self._items = list(found) if whole else itertools.chain(found, rest)
        return found

    def hold(self) -> list[Any]:
        """Take all items and keep them."""
        if not isinstance(self._items, list):
            self._items = list(self)
        return self._items

    def __json__(self) -> list[Any]:
        return self.hold()

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (self.hold(),)

    def __repr__(self) -> str:
        # Looking must not consume.
        return "<stream of signatures>"


class AsyncStream(Stream):
    """An async iterable of signatures; the event loop draws them that sends it.

    Until `asend` has given it a way to draw, any look at it is a `CanvasError`.
    """

    __slots__ = ("drawn", "given")

    def __init__(self, items: AsyncIterable[Any]) -> None:
        super().__init__(())
        self.drawn: Drawn | None = None
        #: The async iterable; None once an event loop draws from it.
        self.given: AsyncIterable[Any] | None = items

    def check(self) -> None:
        """Refuse to be gone through a second time, or while nothing is drawn."""
        super().check()
        if self.drawn is None:
            msg = (
                "this group was made from an async iterable, which only an event loop "
                "can read: send it with `await group.asend(...)`"
            )
            raise CanvasError(msg, path="group")

    def ahead(self, count: int) -> list[Any]:
        """Refuse to look: the loop alone can."""
        self.check()
        return super().ahead(count)

    def draw(self, drawn: Drawn) -> None:
        """Have the items come out of `drawn`."""
        self._items = drawn
        self.drawn = drawn

    @property
    def at_hand(self) -> int:
        """How many items can be had without waiting."""
        return 0 if self.drawn is None else self.drawn.at_hand

    def close(self) -> None:
        """Have nothing more drawn."""
        if self.drawn is not None:
            self.drawn.close()


class Drawn(Protocol):
    """What comes out of an async iterable."""

    def __iter__(self) -> Iterator[Any]:
        """Yield what is drawn."""

    @property
    def at_hand(self) -> int:
        """How many items are drawn."""

    def close(self) -> None:
        """Draw no more."""


def _raising(error: BaseException) -> Iterator[Any]:
    raise error
    yield


class Mapped:
    """One task over an iterable of arguments.

    Shape: each item is the one positional argument (`star` False) or the tuple of
    positional arguments (`star` True) of one task.
    """

    __slots__ = ("items", "options", "star", "task")

    def __init__(
        self,
        task: str,
        items: Iterable[Any] | AsyncIterable[Any],
        options: dict[str, Any],
        *,
        star: bool,
    ) -> None:
        self.task = task
        self.items: Iterable[Any]
        if isinstance(items, AsyncIterable):
            self.items = AsyncStream(items)
        else:
            reusable = isinstance(items, (list, tuple, range)) or (
                isinstance(items, Table) and items.is_held
            )
            self.items = items if reusable else Stream(items)
        self.options = options
        self.star = star

    @property
    def size(self) -> int | None:
        """How many members it stands for; None if that is known at their end."""
        items = self.items
        return None if isinstance(items, Stream) else len(cast("Sized", items))

    def __iter__(self) -> Iterator[Signature[Any]]:
        return self._made(self.items)

    def _made(self, items: Iterable[Any]) -> Iterator[Signature[Any]]:
        for item in items:
            args = tuple(item) if self.star else (item,)
            yield CLASSES.task(self.task, args, {}, dict(self.options))

    def ahead(self, count: int) -> list[Any]:
        """Return up to `count` signatures; the items stay where they are."""
        items = self.items
        if isinstance(items, Stream):
            items = items.ahead(count)
        return list(itertools.islice(self._made(items), count))

    def hold(self) -> list[Any]:
        """Make the signatures, one per item; the items are kept for another time."""
        if isinstance(self.items, Stream):
            self.items = self.items.hold()
        return list(self)

    def __json__(self) -> list[Any]:
        return self.hold()

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (self.hold(),)

    def __repr__(self) -> str:
        return f"<{self.task} over {type(self.items).__name__}>"


def stream_in(source: Any) -> Stream | None:
    """Return the stream that a group's members come from, if they do."""
    items = source.items if isinstance(source, Mapped) else source
    return items if isinstance(items, Stream) else None


def is_async(source: Any) -> bool:
    """Whether a group's members come from an async iterable."""
    return isinstance(stream_in(source), AsyncStream)
