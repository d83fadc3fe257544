"""Members that are to be sent once more: read and compared before anything changes."""

from __future__ import annotations

from celerant.dispatch.carrier import Carrier
from celerant.dispatch.carriers import Carriers
from celerant.dispatch.dispatching import HELD_BYTES, Many
from celerant.dispatch.wires.base import Broken, ConnectionRefused

__all__ = ["Check"]


class Check(Many):
    """Reads the members of an order, and sends none of them."""

    def look(self, carriers: Carriers, *, is_kept: bool) -> bool:
        """Read members and compare those that the order wants.

        Args:
            carriers: By what they would be sent: a message differs by that.
            is_kept: Whether what is read can be read again without memory. Else the
                look ends once as much of it was read as is held of a list.

        Returns:
            Whether all that the order wants was read.

        Raises:
            CanvasError: The source is another, or too short, or has a member that
                cannot be sent once more.
            PublishError: No broker answers.
        """
        try:
            try:
                with self._held(carriers) as carrier:
                    return self._look(carrier, is_kept=is_kept)
            except ConnectionRefused:
                if not carriers.lends:
                    raise
                with carriers.borrow(self._dispatch) as carrier:
                    return self._look(carrier, is_kept=is_kept)
        except Broken as exc:
            raise self._publish_error(exc) from exc.__cause__

    def _look(self, carrier: Carrier, *, is_kept: bool) -> bool:
        self._renderer.carrier = carrier
        only, size = self._order.only, 0
        stop = only[-1][1] if only else 0
        while self._plan.count < stop or self._plan.is_amid:
            if size > HELD_BYTES and not is_kept:
                return False
            chunk = self._next(carrier)
            if chunk is None:
                break
            size += chunk.size
            self._rest_of(chunk)
        self._refuse_short()
        return True
