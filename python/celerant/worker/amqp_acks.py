"""Acknowledgements and rejections for RabbitMQ, many in one write."""

from __future__ import annotations

from struct import Struct

from celerant.running.policy import Settlement

__all__ = ["Acks"]

#: A frame of `basic.ack` or `basic.reject`: class, method, tag and a bit.
_FRAME = Struct(">BHIHHQBB")
_METHOD, _BASIC, _ACK, _REJECT, _END = 1, 60, 80, 90, 0xCE
_LEN_BYTES = 13


class Acks:
    """The settled deliveries of one channel.

    A channel numbers its deliveries from 1 on. If all deliveries up to a number are
    settled, one ack covers all of them.
    """

    def __init__(self, channel_id: int) -> None:
        self._channel_id = channel_id
        #: All deliveries up to this number are settled. The broker knows it, or is told
        #: with the next frames.
        self._all = 0
        #: Later deliveries that the broker knows to be settled.
        self._told: set[int] = set()
        #: Deliveries that are acknowledged here, but not at the broker yet.
        self._acked: set[int] = set()
        self._frames: list[bytes] = []

    def settle(self, tag: int, settlement: Settlement) -> None:
        """Settle a delivery with the next `take`; a second call does nothing."""
        if tag <= self._all or tag in self._told:
            return
        if settlement is Settlement.ACK:
            self._acked.add(tag)
        else:
            requeue = settlement is Settlement.REQUEUE
            self._frames.append(self._frame(_REJECT, tag, requeue))
            self._told.add(tag)

    def take(self) -> list[bytes]:
        """Return the frames that the broker is to get now."""
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
            # The rejections come first: this ack would settle those messages too.
            frames.append(self._frame(_ACK, last, True))  # noqa: FBT003 - "multiple"
        frames += [self._frame(_ACK, tag, False) for tag in sorted(acked)]  # noqa: FBT003 - as above
        told |= acked
        acked.clear()
        return frames

    def _frame(self, method: int, tag: int, bit: bool) -> bytes:  # noqa: FBT001 - as above
        return _FRAME.pack(
            _METHOD, self._channel_id, _LEN_BYTES, _BASIC, method, tag, bit, _END
        )
