"""Which classes the Rust core reads as signatures and groups."""

from __future__ import annotations

import sys

from celerant.canvas.chain import Chain
from celerant.canvas.chord import chord
from celerant.canvas.group import group
from celerant.canvas.mapping import chunks
from celerant.canvas.signature import Signature

__all__ = ["readable_types"]


def readable_types() -> list[type]:
    """Return the exact types: ours, plain dicts, and Celery's where it is in use.

    A subclass may have changed how it is applied, so only registered ones are read.
    """
    types: list[type] = [Signature, group, Chain, chord, chunks, dict]
    celery = sys.modules.get("celery.canvas")
    if celery is not None:
        types += [celery.Signature, *celery.Signature.TYPES.values()]
    return types
