"""Members that Celery draws from a generator: one at a time, as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from celery.utils.functional import _regen

__all__ = ["app_of", "drawn", "first", "pulled"]

#: Celery's attributes for the generator, the members read, and whether it has ended.
_SOURCE, _PULLED, _IS_OVER = "_regen__it", "_regen__consumed", "_regen__done"


def drawn(members: Any) -> Iterator[Any]:
    """Yield members of a group; members drawn from a generator stay with the group.

    Celery's own iteration draws the member behind the one that it yields, so that
    everybody waits for a slow generator.
    """
    if not isinstance(members, _regen) or not vars(members).keys() >= {
        _SOURCE,
        _PULLED,
        _IS_OVER,
    }:
        return iter(members)
    return _drawn(members)


def _drawn(members: Any) -> Iterator[Any]:
    pulled: list[Any]
    source: Iterator[Any] | None = None
    index = 0
    while True:
        # Looked up each time: stamping maps the members read and those to come.
        pulled = getattr(members, _PULLED)
        if index < len(pulled):
            yield pulled[index]
            index += 1
            continue
        if getattr(members, _IS_OVER):
            return
        if source is None:
            source = iter(getattr(members, _SOURCE))
            # That may have drawn a member.
            continue
        try:
            item = next(source)
        except StopIteration:
            setattr(members, _IS_OVER, True)
            return
        getattr(members, _PULLED).append(item)


def pulled(members: Any) -> tuple[list[Any], bool]:
    """Return the members drawn so far, and whether these are all; draws none."""
    if not isinstance(members, _regen):
        return list(members), True
    own = vars(members)
    return list(own.get(_PULLED, ())), bool(own.get(_IS_OVER))


def first(members: Iterable[Any]) -> Any:
    """Return the first of a group's members; None if there is none."""
    return next(drawn(members), None)


def app_of(members: Any) -> Any:
    """Return a group's app, for which Celery's own property draws two members.

    Raises:
        AttributeError: A member is a plain dict, as with that property.
    """
    tasks = members.tasks
    if members._app is not None or not isinstance(tasks, _regen):  # noqa: SLF001 - Celery has no public one
        return members.app
    found = first(tasks)
    return members.app if found is None else found.app
