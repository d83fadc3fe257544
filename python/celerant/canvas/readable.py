"""Which classes the Rust core reads as canvases."""

from __future__ import annotations

import sys
from typing import Any

from celerant._core import Readable
from celerant.canvas.kinds import classes
from celerant.canvas.source import Mapped

__all__ = ["readable"]

#: The classes of Celery's with which it was made, and the types.
_made: tuple[tuple[Any, ...], Readable] | None = None


def readable() -> Readable:
    """Return the exact types: ours, plain dicts, and Celery's if it is in use.

    A subclass may have changed how it is applied, so only registered ones are read.
    """
    global _made  # noqa: PLW0603 - made again once there are others
    celery = sys.modules.get("celery.canvas")
    theirs: tuple[Any, ...] = ()
    if celery is not None:
        theirs = (celery.Signature, *celery.Signature.TYPES.values())
    made = _made
    if made is None or made[0] != theirs:
        _made = made = theirs, Readable([*classes(), dict, *theirs], Mapped)
    return made[1]
