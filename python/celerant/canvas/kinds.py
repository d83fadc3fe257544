"""Which classes the Rust core reads as signatures and groups."""

from __future__ import annotations

import sys
from typing import Any

from celerant._core import Readable
from celerant.canvas.chain import Chain
from celerant.canvas.chord import chord
from celerant.canvas.group import group
from celerant.canvas.mapping import chunks
from celerant.canvas.signature import Signature
from celerant.canvas.source import Mapped

__all__ = ["readable"]

_OWN: tuple[type, ...] = (Signature, group, Chain, chord, chunks, dict)
#: With which of Celery's classes it was made.
_made: tuple[tuple[Any, ...], Readable] = (), Readable(list(_OWN), Mapped)


def readable() -> Readable:
    """Return the exact types: ours, plain dicts, and Celery's where it is in use.

    A subclass may have changed how it is applied, so only registered ones are read.
    """
    global _made  # noqa: PLW0603 - made again once there are others
    celery = sys.modules.get("celery.canvas")
    if celery is None:
        return _made[1]
    theirs = (celery.Signature, *celery.Signature.TYPES.values())
    made = _made
    if made[0] != theirs:
        _made = made = theirs, Readable([*_OWN, *theirs], Mapped)
    return made[1]
