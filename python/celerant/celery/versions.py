"""The versions of Celery that are served, and their differences from 5.7."""

from __future__ import annotations

import re
from typing import Any

import celery

__all__ = [
    "BALANCES_REPRS",
    "KNOWS_SILENCE",
    "SERVED",
    "SKIPS_EMPTY_CHAINS",
    "SWALLOWS_GROUP_INDEX",
    "is_served",
    "repr_levels",
]

#: The first version that is served, and the first that is not.
SERVED = ((5, 5), (5, 8))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:2])


def is_served(version: str) -> bool:
    """Whether a version of Celery is known."""
    return SERVED[0] <= _numbers(version) < SERVED[1]


_RUNNING = _numbers(celery.__version__)

#: Whether a `group_index` of the call is dropped; before, it overruled the members'
#: own.
SWALLOWS_GROUP_INDEX = _RUNNING >= (5, 6)
#: Whether groups pass over chains without steps; before, they were an error.
SKIPS_EMPTY_CHAINS = _RUNNING >= (5, 7)
#: Whether a consumer of replies tells silence from a lost connection; 5.6 does not.
KNOWS_SILENCE = _RUNNING >= (5, 7)
#: Whether cut reprs close exactly the brackets that they open.
BALANCES_REPRS = _RUNNING >= (5, 7)


def repr_levels(conf: Any) -> int:
    """Return how many nested containers `argsrepr` shows: not a setting before 5.7."""
    return int(conf.task_repr_maxlevels) if _RUNNING >= (5, 7) else 3
