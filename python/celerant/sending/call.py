"""The arguments and options that a canvas was sent with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from celerant.dispatch.wires.base import Doubt
    from celerant.errors.report import Intervals, Report
    from celerant.sending.journal_records import KeptJournal

__all__ = ["SentCall", "new_seed", "to_resend"]


class SentCall:
    """The arguments and options that a group was sent with."""

    __slots__ = (
        "args",
        "doubts",
        "is_short",
        "journal",
        "kwargs",
        "losses",
        "options",
        "source",
        "stamp",
        "tasks",
    )

    def __init__(
        self,
        source: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
        losses: int,
    ) -> None:
        #: The members as they were given; a list is the caller's own.
        self.source = source
        self.args = args
        self.kwargs = kwargs
        self.options = options
        #: The backend's losses before the first message left.
        self.losses = losses
        #: What its messages are stamped with, if a group can be cancelled by it.
        self.stamp: str | None = None
        #: Names what leaves; None: nothing is kept of it.
        self.journal: KeptJournal | None = None
        #: Unknown members that the broker can be asked about.
        self.doubts: list[Doubt] = []
        #: Whether members were left out whose own `apply_async` sent nothing.
        self.is_short = False
        #: Names of the tasks that were sent so far.
        self.tasks: set[str] = set()


def to_resend(report: Report, unknown: Literal["send", "skip"]) -> Intervals:
    """Return the members that `resume` sends again."""
    only = report.unsent + report.rejected
    if unknown == "send":
        only += report.unknown
    return sorted(only)


def new_seed() -> bytes:
    """Return a seed for the ids of one dispatch: 128 random bits."""
    # They are the bits of a UUID of version 4, which is the group's id; `uuid4` takes
    # twice as long, since it makes an object.
    seed = bytearray(os.urandom(16))
    seed[6] = seed[6] & 0x0F | 0x40
    seed[8] = seed[8] & 0x3F | 0x80
    return bytes(seed)
