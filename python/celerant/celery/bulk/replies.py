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
    """Whether results come as messages, in the way that is Celery's own."""
    cls = type(backend)
    return (
        isinstance(backend, RPCBackend)
        and cls.get_task_meta is RPCBackend.get_task_meta
        and type(backend.result_consumer) is ResultConsumer
    )


def receive(backend: Any) -> None:
    """Take in what has come for results that Celery's consumer waits for.

    On RabbitMQ one round trip, behind which all is here that was there before it.
    """
    consumer = backend.result_consumer
    if consumer._consumer is None:  # noqa: SLF001 - Celery has no public one
        # Nobody waits for anything yet.
        return
    if type(consumer.drainer) is not Drainer:
        # A greenlet of Celery's receives all the time; let it.
        time.sleep(0)
        return
    if isinstance(consumer._connection.transport, Transport):  # noqa: SLF001
        # What connects again where the connection is lost, as Celery does from 5.6 on.
        recovering = getattr(consumer, "reconnect_on_error", contextlib.nullcontext)
        with recovering():
            # Changes nothing; its answer comes behind the messages.
            consumer._consumer.channel.basic_qos(0, 0, False)  # noqa: FBT003, SLF001
        return
    drain = (consumer if KNOWS_SILENCE else consumer._connection).drain_events  # noqa: SLF001
    with contextlib.suppress(TimeoutError):
        while True:
            drain(timeout=_SILENCE)
