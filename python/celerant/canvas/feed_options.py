"""The options of a group that is fed: how much of it may be out at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from celerant.common.printable import shown
from celerant.errors import SettingError

__all__ = ["FeedOptions", "take_feed_options"]


class FeedOptions(NamedTuple):
    """How a group is fed; see `GroupOptions`."""

    window: int | None = None
    canary: int | float | None = None
    stop_if: int | float | None = None
    cancellable: bool = False
    journal: str | os.PathLike[str] | bool | None = None

    @property
    def feeds(self) -> bool:
        """Whether members leave by and by, in the background."""
        return not (self.window is self.canary is self.stop_if is None)

    @property
    def stamps(self) -> bool:
        """Whether messages say of which group they are, so that one word cancels it."""
        return self.cancellable or self.feeds


_PLAIN = FeedOptions()


def take_feed_options(options: dict[str, Any]) -> FeedOptions:
    """Take the options of feeding out of those of a call, and check them.

    Raises:
        SettingError: A value that cannot be.
    """
    if not options:
        return _PLAIN
    found = (options.pop(name, None) for name in FeedOptions._fields)
    given = {
        name: value
        for name, value in zip(FeedOptions._fields, found, strict=True)
        if value is not None
    }
    for name, value in given.items():
        takes, words = _VALUES[name]
        if not takes(value):
            msg = f"group: {name} must be {words}, not {shown(value)}"
            raise SettingError(msg, name=name, path="group")
    return FeedOptions(**given) if given else _PLAIN


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_share(value: Any) -> bool:
    return isinstance(value, float) and 0 < value < 1


_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "window": (
        lambda value: _is_count(value, 1),
        "a whole number from 1 on: how many unfinished members may be in the broker",
    ),
    "canary": (
        lambda value: _is_count(value, 1) or _is_share(value),
        "a whole number from 1 on, or a share of the members between 0 and 1",
    ),
    "stop_if": (
        lambda value: _is_count(value, 0) or _is_share(value),
        "a number of failures from 0 on, or a share of those done between 0 and 1",
    ),
    "cancellable": (lambda value: isinstance(value, bool), "True or False"),
    "journal": (
        lambda value: isinstance(value, (bool, str, os.PathLike)) and value != "",
        "the path of a file, or True: a journal in Redis",
    ),
}
