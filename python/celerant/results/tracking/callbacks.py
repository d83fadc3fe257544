"""The calls of `then`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from celerant._core import Barrier
from celerant.common.foreign import is_interrupt

__all__ = ["Callback"]

logger = logging.getLogger("celerant")


@dataclass(frozen=True, eq=False, slots=True)
class Callback:
    """A call, and the member that it is about; None: all of them."""

    index: int | None
    act: Callable[[], None]

    def is_due(self, barrier: Barrier) -> bool:
        """Whether what it is about is done."""
        if self.index is None:
            return barrier.is_complete
        return barrier.state(self.index) != Barrier.PENDING

    def call(self) -> None:
        """Call it; what it raises is logged, for nobody waits for it."""
        try:
            self.act()
        except BaseException as exc:
            # `sys.exit()` in a callback ends neither the thread that takes in results
            # nor whoever looks; a Ctrl-C is no callback's.
            if is_interrupt(exc):
                raise
            logger.exception("results: a `then` callback failed")
