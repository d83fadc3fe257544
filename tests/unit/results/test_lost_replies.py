"""What is said of results whose reply queue was lost."""

from __future__ import annotations

from kombu import Connection

from celerant._core import Roster
from celerant.results.backends import open_backend
from celerant.results.tracking.members import Members


def _rpc():
    return open_backend(
        "rpc://", name="lost-replies", connect=lambda: Connection("amqp://")
    )


def test_results_that_are_waited_for_are_doubted_once_for_each_loss():
    backend = _rpc()
    members = Members(Roster(bytes(16), 3), backend)
    members.barrier.grow(3)
    backend.losses += 1

    assert "3 results may be lost" in str(backend.doubt(members))
    assert backend.doubt(members) is None


def test_a_sender_that_opens_the_reply_queue_hears_of_no_loss():
    backend = _rpc()
    members = Members(Roster(bytes(16)), backend)
    backend.losses += 1

    assert backend.doubt(members) is None
