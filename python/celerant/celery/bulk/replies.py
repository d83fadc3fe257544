"""rpc: results are messages that the broker pushes to their only reader."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from celery.backends.asynchronous import Drainer
from celery.backends.rpc import ResultConsumer, RPCBackend
from kombu.transport.pyamqp import Transport

from celerant.celery.versions import KNOWS_SILENCE

__all__ = ["are_replies", "receive"]

#: Seconds of silence after which a virtual transport has no more: it polls.
_SILENCE = 0.05


def are_replies(backend: Any) -> bool:
    """Whether results come as messages, in Celery's own way."""
    cls = type(backend)
    return (
        isinstance(backend, RPCBackend)
        and cls.get_task_meta is RPCBackend.get_task_meta
        and type(backend.result_consumer) is ResultConsumer
    )


def receive(backend: Any) -> None:
    """Take in the replies for results that Celery's consumer waits for.

    On RabbitMQ it takes two round trips for each 200 results: a queue sends its reader
    no more before the reader's channel has passed these on.
    """
    consumer = backend.result_consumer
    if consumer._consumer is None:  # noqa: SLF001 - Celery has no public one
        # No result is waited for yet.
        return
    if type(consumer.drainer) is not Drainer:
        # A greenlet of Celery's receives all the time; let it.
        time.sleep(0)
        return
    if isinstance(consumer._connection.transport, Transport):  # noqa: SLF001
        # Connects again if the connection is lost, as Celery does from 5.6 on.
        recovering = getattr(consumer, "reconnect_on_error", contextlib.nullcontext)
        with recovering():
            _receive_all(consumer._consumer)  # noqa: SLF001
        return
    drain = (consumer if KNOWS_SILENCE else consumer._connection).drain_events  # noqa: SLF001
    with contextlib.suppress(TimeoutError):
        while True:
            drain(timeout=_SILENCE)


def _receive_all(consumer: Any) -> None:
    """Take in the messages of a consumer's queue on RabbitMQ."""
    channel, (queue,) = consumer.channel, consumer.queues
    left = True
    while left:
        left = channel.queue_declare(queue.name, passive=True).message_count > 0
        # It changes nothing, and its answer comes behind the messages that left the
        # queue.
        channel.basic_qos(0, 0, False)  # noqa: FBT003 - kombu's order
