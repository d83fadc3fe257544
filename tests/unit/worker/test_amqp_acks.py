"""What RabbitMQ is told of deliveries, beside a model of what it makes of that."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from celerant.running.policy import Settlement
from celerant.worker.amqp_acks import Acks

CHANNEL = 5
SETTLEMENTS = st.sampled_from(list(Settlement))


class Broker:
    """Refuses tags that are not outstanding, as RabbitMQ does."""

    def __init__(self, count):
        self.outstanding = set(range(1, count + 1))
        self.became = {}

    def hear(self, frame):
        kind, channel, size, cls, method, tag, bit, end = struct.unpack(
            ">BHIHHQBB", frame
        )
        assert (kind, channel, size, cls, end) == (1, CHANNEL, 13, 60, 0xCE)
        assert tag in self.outstanding, f"unknown delivery tag {tag}"
        if method == 80:
            all_of = {one for one in self.outstanding if one <= tag}
            of = all_of if bit else {tag}
            self.became.update(dict.fromkeys(of, Settlement.ACK))
        else:
            assert method == 90
            of = {tag}
            self.became[tag] = Settlement.REQUEUE if bit else Settlement.REJECT
        self.outstanding -= of


@given(
    st.permutations(range(1, 30)),
    st.lists(SETTLEMENTS, min_size=29, max_size=29),
    st.lists(st.integers(1, 6), min_size=1),
)
def test_each_delivery_is_told_as_it_was_settled_and_no_other(order, what, sizes):
    acks, broker = Acks(CHANNEL), Broker(29)
    wanted = dict(zip(range(1, 30), what, strict=True))
    told = 0
    while told < len(order):
        size = sizes[told % len(sizes)]
        for tag in order[told : told + size]:
            acks.settle(tag, wanted[tag])
            # Once, however often.
            acks.settle(tag, Settlement.ACK if told % 2 else wanted[tag])
        told += size
        for frame in acks.take():
            broker.hear(frame)
        settled = order[:told]
        assert broker.became == {tag: wanted[tag] for tag in settled}
    assert acks.take() == []


def test_deliveries_that_end_in_order_take_one_frame():
    acks, broker = Acks(CHANNEL), Broker(300)
    for start in (1, 101, 201):
        for tag in range(start, start + 100):
            acks.settle(tag, Settlement.ACK)
        (frame,) = acks.take()
        broker.hear(frame)
    assert not broker.outstanding
