"""The loop that consumes from a broker, in the one thread that uses its connection."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from celerant._core import wall_time
from celerant.common.waker import Waker
from celerant.running.policy import Settlement
from celerant.worker.backlog import Backlog
from celerant.worker.connecting import reach
from celerant.worker.consumed_queues import ConsumedQueues
from celerant.worker.declaring import allowed_of
from celerant.worker.envelopes import guard_envelopes
from celerant.worker.hub import joined_hub, turns
from celerant.worker.intakes import new_intake, redis_volleys
from celerant.worker.message import Reader
from celerant.worker.refused import Refused
from celerant.worker.settling import Settling

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celerant.worker.flow import Flow
    from celerant.worker.intake import Intake
    from celerant.worker.mailbox import MailboxNode
    from celerant.worker.message import Delivery
    from celerant.worker.redis_intake import RedisIntake

__all__ = ["BrokerSource"]

logger = logging.getLogger("celerant.worker")

#: Seconds of one wait for messages, if the transport has no event loop.
_DRAIN_TIMEOUT = 0.5
#: Seconds before the first attempt to connect again, and the most before a later one.
#: The pause doubles with each attempt.
_PAUSE_FIRST, _PAUSE_LONGEST = 0.1, 10.0


class BrokerSource:
    """Messages from some queues of a broker.

    The threads of the pool call `take`, `ready`, `put_back` and `settling`, and remote
    control changes queues from any thread. All else belongs to the thread that calls
    `run`; it alone talks to the broker.
    """

    def __init__(  # noqa: PLR0913 - what the worker joins here
        self,
        connect: Callable[[], Any],
        queues: Sequence[Any],
        reader: Reader,
        refuse: Callable[[Refused, str], None],
        *,
        flow: Flow,
        arrived: Callable[[Delivery], None],
        mailbox: MailboxNode | None = None,
        prepare: Callable[[Sequence[Any]], None] | None = None,
    ) -> None:
        """Consume `queues` over connections that `connect` makes.

        Args:
            connect: Returns a new connection, not yet connected.
            queues: kombu's.
            reader: Makes deliveries of messages.
            refuse: Called with each refused message and its queue.
            flow: How many messages to hold.
            arrived: Called with each message that has come.
            mailbox: Hears remote control on the same connections.
            prepare: Called with the queues once they are declared.
        """
        self._connect = connect
        self._reader = reader
        self._flow = flow
        self._arrived = arrived
        self._mailbox = mailbox
        self._prepare = prepare
        self._connection: Any = None
        self._intake: Intake | None = None
        #: The intake of Redis, which outlives connections; None for other brokers.
        self._volleys: RedisIntake | None = None
        #: Whether it was stopped and has given its unstarted messages back.
        self._is_emptied = False
        self._generation = self._prefetch = 0
        self._backlog = Backlog(refuse)
        self._waker = Waker()
        self._queues = ConsumedQueues(queues, self._waker.wake)
        #: Takes the slots' settlements to the broker.
        self.settling = Settling(self._waker.wake)
        self._cancelled, self._finished = threading.Event(), threading.Event()
        self._wake: Callable[[int], None] | None = None
        #: Set once messages and remote control arrive, or the broker has refused.
        self.begun = threading.Event()
        #: The broker's refusal of the queues, if the first connection got one.
        self.refusal: Exception | None = None
        #: Whether the present connection has brought anything.
        self._hears = False

    def open(self) -> None:
        """Connect, declare the queues and get ready to consume.

        Raises:
            Exception: The transport's own, if the broker is not reachable.
        """
        if self._volleys is None:
            # Slots may have put deliveries back since the last connection was lost.
            self._backlog.drop()
        self._generation += 1
        self._connection = connection = self._connect()
        reach(connection)
        channel = connection.channel()
        lost = (*connection.connection_errors, *connection.channel_errors)
        guard = partial(
            guard_envelopes,
            lost=lost,
            refuse=self._pass_refused,
            limits=self._reader.limits,
        )
        guard(channel)
        allowed = list(self._queues)
        if self._generation > 1:
            allowed = allowed_of(connection, allowed)
        self._intake = self._join_intake(channel, allowed)
        self.settling.in_volleys = self._intake.in_volleys
        self._set_prefetch()
        if self._prepare is not None:
            self._prepare(allowed)
        if self._mailbox is not None:
            self._mailbox.listen(connection, guard)

    def _join_intake(self, channel: Any, queues: Sequence[Any]) -> Intake:
        if self._volleys is not None:
            # Set before it opens, which may receive messages at once.
            self._intake = self._volleys
            self._volleys.open(channel, queues)
            return self._volleys
        if self._generation == 1:
            self._volleys = redis_volleys(
                self._connection,
                channel,
                queues,
                receive=self._take_in,
                refuse=self._backlog.add_refused,
                waiting=lambda: len(self._backlog.ready),
                reader=self._reader,
            )
        return self._volleys or new_intake(
            self._connection, channel, queues, self._receive, self._reader
        )

    def run(self, wake: Callable[[int], None]) -> None:
        """Consume until `close`; if the broker is lost, connect again."""
        self._wake = wake
        pause = _PAUSE_FIRST
        while not self._finished.is_set():
            try:
                if self._connection is None:
                    self.open()
                    logger.info("connected again")
                self._consume()
            except BaseException as exc:  # noqa: BLE001 - any error here loses the broker
                if self._is_refused(exc):
                    break
                if self._hears:
                    pause = _PAUSE_FIRST
                self._lose(exc)
                if self._cancelled.wait(pause):
                    break
                pause = min(pause * 2, _PAUSE_LONGEST)
        self._disconnect()
        self._waker.close()

    def _is_refused(self, exc: BaseException) -> bool:
        """Whether the broker refused the queues of the first connection; keep why."""
        if self.begun.is_set() or self._connection is None:
            return False
        if not isinstance(exc, self._connection.channel_errors):
            return False
        self.refusal = exc
        self.begun.set()
        return True

    def _consume(self) -> None:
        self._hears = False
        if self._connection.is_evented:
            self._consume_evented()
        else:
            self._intake_now.begin(None)
            self._hears = True
            self.begun.set()
            while not self._is_over():
                self._tick()
                with contextlib.suppress(socket.timeout):
                    self._connection.drain_events(timeout=_DRAIN_TIMEOUT)
        self._tick()

    def _consume_evented(self) -> None:
        connection = self._connection
        with joined_hub(connection, self._waker) as hub:
            self._intake_now.begin(hub)
            # Messages that came with the broker's answer make no socket readable.
            if connection.transport.driver_type == "amqp":
                with contextlib.suppress(socket.timeout):
                    connection.drain_events(timeout=0)
            loop, alarm = turns(hub, connection, self._mailbox), None
            # A turn without a wait subscribes to broadcasts, before any task begins.
            self._waker.wake()
            next(loop)
            self._waker.wake()
            while not self._is_over():
                self._tick()
                due = self._backlog.held.next_due()
                if due is not None and due != alarm:
                    hub.call_later(max(0.0, due - wall_time()), _nothing)
                    alarm = due
                next(loop)
                self._hears = True
                self.begun.set()

    @property
    def _intake_now(self) -> Intake:
        assert self._intake is not None  # noqa: S101 - there is one while connected
        return self._intake

    def _tick(self) -> None:
        intake = self._intake_now
        if self._cancelled.is_set():
            self._cancel(intake)
        self.settling.pass_on(intake, self._generation)
        self._queues.change(None if self._is_emptied else intake)
        self._set_prefetch()
        intake.turn()
        self.settling.is_told.set()
        if self._wake is not None and self.waiting():
            self._wake(len(self._backlog))

    def _set_prefetch(self) -> None:
        self._prefetch = self.settling.held = self._flow.wanted(len(self._backlog.held))
        self._intake_now.hold(self._prefetch)

    def _receive(self, message: Any) -> None:
        # The turn that follows wakes the slots.
        info = message.delivery_info or {}
        self._take_in(
            message, str(info.get("routing_key") or info.get("exchange") or "")
        )

    def _take_in(self, message: Any, queue: str) -> None:
        try:
            delivery = self._reader.read(message)
        except Refused as refused:
            self._intake_now.settle(message, Settlement.REJECT)
            self._backlog.add_refused(refused, queue)
            return
        delivery.queue, delivery.generation = queue, self._generation
        self._arrived(delivery)
        self._backlog.add(delivery)

    def _pass_refused(self, refused: Refused, queue: str) -> None:
        self._backlog.add_refused(refused, queue)
        self._wake_slots()

    def _wake_slots(self) -> None:
        ready = self._backlog.ready
        if self._wake is not None and ready:
            self._wake(len(ready))

    def waiting(self) -> bool:
        """Whether `take` may have something."""
        return self._backlog.waiting()

    def unstarted(self) -> list[Delivery]:
        """Return the deliveries that have not begun."""
        return self._backlog.unstarted()

    def queues(self) -> list[Any]:
        """Return the queues (kombu's) that it takes from."""
        return list(self._queues)

    def add_queue(self, queue: Any) -> None:
        """Soon take from one more queue (kombu's).

        Raises:
            ValueError: The broker refuses the queue.
        """
        self._queues.add(self._connection, queue)

    def hasten(self, is_meant: Callable[[Delivery], bool]) -> None:
        """Make the meant deliveries due now instead of at their eta."""
        if self._backlog.held.hasten(is_meant):
            self._waker.wake()

    def cancel_queue(self, name: str) -> None:
        """Soon stop taking from a queue; messages that have come still run."""
        self._queues.cancel(name)

    def resize(self, slots: int) -> None:
        """Hold messages for this many slots."""
        self._flow = replace(self._flow, slots=slots)
        self._waker.wake()

    def about(self) -> dict[str, Any]:
        """Return the broker's part of ``celery inspect stats``."""
        info = {} if self._connection is None else dict(self._connection.info())
        info.pop("password", None)
        return {"broker": info, "prefetch_count": self._prefetch}

    def take(self) -> Delivery | None:
        """Return the next delivery to run now; None if there is none."""
        return self._backlog.take()

    def ready(self) -> int:
        """Return how many `take` may give at once."""
        return len(self._backlog.ready)

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """Take back deliveries that did not begin; they are the next to go out."""
        self._backlog.put_back(self._ours(deliveries))
        self._wake_slots()

    def _ours(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Return the deliveries that no lost connection has given back."""
        lasts, now = self._volleys is not None, self._generation
        return [one for one in deliveries if lasts or one.generation == now]

    def stop(self) -> None:
        """Take no more messages, and give back those that have not begun.

        `run` goes on settling the running ones until `close`.
        """
        self._cancelled.set()
        self._waker.wake()

    def close(self) -> None:
        """Let `run` end; called once no task runs."""
        self._finished.set()
        self.stop()

    def _cancel(self, intake: Intake) -> None:
        intake.cancel()
        if intake.has_ended():
            self._is_emptied = True
            # Each time, for slots may have put deliveries back since.
            self._give_back(intake)

    def _is_over(self) -> bool:
        return self._finished.is_set() and self._is_emptied

    def _give_back(self, intake: Intake) -> None:
        unstarted = self._backlog.empty()
        if unstarted:
            logger.info("%d unstarted messages go back to the broker", len(unstarted))
            intake.give_back([one.message for one in self._ours(unstarted)])

    def _lose(self, exc: BaseException) -> None:
        uri = "the broker" if self._connection is None else self._connection.as_uri()
        logger.warning(
            "lost %s (%s: %s); running tasks go on, waiting messages %s",
            uri,
            type(exc).__name__,
            exc,
            "come again" if self._volleys is None else "are kept",
        )
        logger.debug("how the broker was lost", exc_info=exc)
        if self._volleys is None:
            # The broker delivers these again, so they would run twice.
            self._backlog.drop()
        self._hears = False
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if self._mailbox is not None:
            self._mailbox.close()
        intake, self._intake = self._intake, None
        if intake is not None:
            intake.close()
        if connection is not None:
            # A broken connection may raise while it closes, which tells nothing new.
            with contextlib.suppress(Exception):
                connection.close()


def _nothing() -> None:
    """Wake the loop; its next turn gives out the messages that are due."""
