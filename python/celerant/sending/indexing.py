"""Notes the groups that an app sends, where ``celerant_index_groups`` is on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from celerant._core import monotonic
from celerant.canvas.source import Mapped
from celerant.common.per_process import PerProcess
from celerant.common.printable import line
from celerant.dispatch.interruption import carry, is_interruption
from celerant.errors import SettingError
from celerant.results.indexed import put

if TYPE_CHECKING:
    from celerant.context.host import App
    from celerant.results.group_result import GroupResult
    from celerant.sending.call import SentCall

__all__ = ["Index"]

logger = logging.getLogger("celerant")

_SETTING = "celerant_index_groups"
#: Seconds without another try after one that failed: sending must not wait for a store
#: that is away at every group.
_PAUSE = 30.0


class Index:
    """The index of an app's groups, on its way out.

    Sending goes on whatever becomes of a note: a group that is not in the index was
    sent all the same.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        #: Held while a group is noted that is being sent: its end must not be noted
        #: before its beginning.
        self._noting = PerProcess(threading.Lock)
        self._paused_until = 0.0

    @property
    def is_on(self) -> bool:
        """Whether groups are noted."""
        return bool(self._app.conf.celerant_index_groups)

    def check(self) -> None:
        """Refuse to send a group that cannot be noted, before anything leaves.

        Raises:
            SettingError: The app's store of results keeps no index.
        """
        if not self.is_on or self._app.conf.task_always_eager:
            return
        backend = self._app.backend
        if not backend.keeps_index:
            where = backend.as_uri() if backend.has_results else "nowhere"
            msg = (
                f"{_SETTING} needs results in Redis or on memory://, and this app's "
                f"go to {where}"
            )
            raise SettingError(msg, name=_SETTING)

    def note(self, result: GroupResult[Any], call: SentCall) -> None:
        """Note a group that was sent, or whose sending has begun or ended.

        Raises:
            BaseException: What ends the running code, such as Ctrl-C: it has `result`
                and `report`.
        """
        if not self.is_on or monotonic() < self._paused_until:
            return
        try:
            with nullcontext() if result.feeding is None else self._noting.get():
                put(result, sorted(call.tasks) or _first_task(call.source))
        except BaseException as exc:
            if is_interruption(exc):
                carry(exc, result, result.report)
                raise
            # The group is sent all the same.
            self._paused_until = monotonic() + _PAUSE
            logger.warning(
                "group %s is not in the index of groups, nor are those sent in the "
                "next %.0f s: %s",
                result.id,
                _PAUSE,
                line(exc),
            )

    def at_end(
        self, result: GroupResult[Any], call: SentCall
    ) -> Callable[[], None] | None:
        """Return what notes the end of a group that is sent bit by bit."""
        return partial(self.note, result, call) if self.is_on else None


def _first_task(source: Any) -> list[str]:
    """Return the name of the first task, if it is known before any was sent."""
    if isinstance(source, Mapped):
        return [source.task]
    first = source[0] if isinstance(source, (list, tuple)) and source else None
    return [str(first["task"])] if isinstance(first, Mapping) else []
