"""Questions to a broker about what was sent before, and what a Redis keeps of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from celerant._core import Ledger
from celerant.dispatch.dispatching import find_out
from celerant.dispatch.interruption import carry
from celerant.dispatch.wires.base import Broken, Dispatch
from celerant.errors import PublishError

if TYPE_CHECKING:
    from celerant.dispatch.carriers import Carriers
    from celerant.dispatch.connections import Patience
    from celerant.dispatch.journaling import Command
    from celerant.dispatch.wires.base import Wire
    from celerant.errors.report import Report
    from celerant.sending.call import SentCall

__all__ = ["Asking"]


class Asking(ABC):
    """Asks by the connections of an app."""

    @abstractmethod
    def open(self) -> Carriers:
        """Return the connections."""

    @abstractmethod
    def open_for_feeding(self) -> Carriers:
        """Return the connections that nobody holds for long."""

    @abstractmethod
    def _patience(self, options: Mapping[str, Any]) -> Patience:
        """Return how often to try again."""

    def find_out(self, call: SentCall, result: Any, report: Report) -> None:
        """Ask the broker what became of the unknown members of an earlier dispatch.

        Raises:
            PublishError: It does not answer; `result` can be resumed later.
        """
        if not call.doubts:
            return
        patience = self._patience(call.options)
        try:
            find_out(self.open(), call.doubts, report.ledger, patience)
        except PublishError as exc:
            carry(exc, result, report)
            raise

    def look(self, name: bytes) -> int | None:
        """Read the mark of a journal; None: the broker has none.

        Raises:
            PublishError: The broker does not answer.
        """
        number: int | None = self._asked(lambda wire: wire.look(name))
        return number

    def tell(self, *commands: Command) -> list[Any] | None:
        """Send commands to the broker, if it is a Redis; see `Wire.tell`.

        Raises:
            PublishError: The broker does not answer.
        """
        found: list[Any] | None = self._asked(lambda wire: wire.tell(*commands))
        return found

    def _asked(self, ask: Callable[[Wire], Any]) -> Any:
        dispatch = Dispatch(Ledger(), self._patience({}))
        try:
            with self.open_for_feeding().acquire(dispatch) as carrier:
                return ask(carrier.wires[0])
        except Broken as exc:
            raise PublishError(str(exc), recoverable=exc.recoverable) from exc.__cause__
