"""What RabbitMQ is told of deliveries, many in one write."""

from __future__ import annotations

from struct import Struct

from celerant.running.policy import Settlement

__all__ = ["Acks"]

#: Frames with class, method, tag and a bit: `basic.ack` and `basic.reject`.
_FRAME = Struct(">BHIHHQBB")
_METHOD, _BASIC, _ACK, _REJECT, _END = 1, 60, 80, 90, 0xCE
_LEN_BYTES = 13


class Acks:
    """The deliveries of one channel that are settled.

    A channel numbers its deliveries from 1 on. One ack tells of all up to one, if all
    of them are settled.
    """

    def __init__(self, channel_id: int) -> None:
        self._channel_id = channel_id
        #: All deliveries up to here are settled, and the broker knows or is told next.
        self._all = 0
        #: Further ones of which the broker knows already.
        self._told: set[int] = set()
        #: Acknowledged, and not told yet.
        self._acked: set[int] = set()
        self._frames: list[bytes] = []

    def settle(self, tag: int, settlement: Settlement) -> None:
        """Have the broker told with the next `take`; once, however often asked."""
        if tag <= self._all or tag in self._told:
            return
        if settlement is Settlement.ACK:
            self._acked.add(tag)
        else:
            requeue = settlement is Settlement.REQUEUE
            self._frames.append(self._frame(_REJECT, tag, requeue))
            self._told.add(tag)

    def take(self) -> list[bytes]:
        """Return what the broker is to be told now, as frames."""
        acked, told = self._acked, self._told
        if not acked and not self._frames:
            return []
        last, at = 0, self._all + 1
        while True:
            if at in acked:
                acked.discard(at)
                last = at
            elif at in told:
                told.discard(at)
            else:
                break
            at += 1
        self._all = at - 1
        frames, self._frames = self._frames, []
        if last:
            # What was rejected before it is told first: it is settled otherwise.
            frames.append(self._frame(_ACK, last, True))  # noqa: FBT003 - "multiple"
        frames += [self._frame(_ACK, tag, False) for tag in sorted(acked)]  # noqa: FBT003 - as above
        told |= acked
        acked.clear()
        return frames

    def _frame(self, method: int, tag: int, bit: bool) -> bytes:  # noqa: FBT001 - as above
        return _FRAME.pack(
            _METHOD, self._channel_id, _LEN_BYTES, _BASIC, method, tag, bit, _END
        )
