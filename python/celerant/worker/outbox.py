"""Publish events in a thread of their own, so no task waits for the broker."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from kombu import Exchange, Producer
from kombu.exceptions import EncodeError

from celerant._core import monotonic
from celerant.worker.connecting import reach

if TYPE_CHECKING:
    from collections.abc import Callable

    from kombu.clocks import LamportClock

__all__ = ["Outbox"]

logger = logging.getLogger("celerant.worker")

#: The most events that wait for the broker; a further one drops the oldest.
_MOST_WAITING = 10_000
#: The most events of one message, which so stays small.
_MOST_AT_ONCE = 100
#: Seconds until the next attempt to reach a lost broker.
_RETRY_PAUSE = 1.0
#: Seconds that `close` waits for the last events.
_CLOSE_TIMEOUT = 2.0
#: Brokers on which Celery's event exchange is a fanout, not a topic.
_FANOUT_DRIVERS = frozenset({"redis", "gcpubsub"})


class Outbox:
    """Publishes events in order over its own connection; any thread may put events."""

    def __init__(  # noqa: PLR0913 - what the worker joins here
        self,
        connect: Callable[[], Any],
        *,
        hostname: str,
        exchange: str,
        serializer: str,
        clock: LamportClock,
        beat: Callable[[], Any],
        interval: float,
    ) -> None:
        """Publish as `hostname`; nothing happens before `start`.

        Args:
            connect: Returns a new connection, not yet connected.
            hostname: The worker that sends the events.
            exchange: Name of the exchange.
            serializer: Name of one of kombu's serializers.
            clock: The worker's logical clock.
            beat: Puts a heartbeat; called at once, and then at intervals.
            interval: Seconds between these calls.
        """
        self._connect = connect
        self._hostname = hostname
        self._exchange_name = exchange
        self._serializer = serializer
        self._beat = beat
        self._interval = interval
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_MOST_WAITING)
        #: Bodies with their routing keys that the broker has not accepted yet.
        self._unsent: deque[tuple[Any, str]] = deque()
        self._clock = clock
        self._pid = os.getpid()
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._has_dropped = self._is_away = False
        self._connection: Any = None
        self._exchange: Any = None
        self._producer: Any = None
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether events that are put are published."""
        return self._thread is not None

    def start(self) -> None:
        """Begin to publish, in a daemon thread."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name=f"{self._hostname} events", daemon=True
            )
            self._thread.start()

    def put(self, kind: str, fields: dict[str, Any]) -> None:
        """Have an event published soon; never waits."""
        # The fields that Celery's `EventDispatcher` adds. Its offset is west of UTC, in
        # hours.
        west = time.altzone if time.localtime().tm_isdst > 0 else time.timezone
        event = {
            "hostname": self._hostname,
            "utcoffset": west / 3600,
            "pid": self._pid,
            "clock": self._clock.forward(),
            **fields,
            "timestamp": time.time(),
            "type": kind,
        }
        if len(self._waiting) == _MOST_WAITING and not self._has_dropped:
            self._has_dropped = True
            logger.warning(
                "%d events wait for the broker, which is slow or away; the oldest are "
                "dropped until it takes them",
                _MOST_WAITING,
            )
        self._waiting.append(event)
        # The publisher clears the flag before it reads, so a set flag is enough.
        if not self._woken.is_set():
            self._woken.set()

    def close(self) -> None:
        """End, once waiting events are published or two seconds have passed."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._closing.set()
        self._woken.set()
        thread.join(_CLOSE_TIMEOUT)
        if thread.is_alive():
            logger.warning("the last events are lost: the broker does not take them")

    def _run(self) -> None:
        due = monotonic()
        while True:
            self._woken.wait(max(0.0, due - monotonic()))
            self._woken.clear()
            # Read before the waiting events, so that the last of them are sent.
            is_last = self._closing.is_set()
            if monotonic() >= due and not is_last:
                self._beat()
                due = monotonic() + self._interval
            if not self._flush() and not is_last:
                self._closing.wait(_RETRY_PAUSE)
                self._woken.set()
            if is_last:
                break
        self._disconnect()

    def _flush(self) -> bool:
        """Publish all waiting events; return whether the broker accepted them."""
        while self._unsent or self._fill():
            body, routing_key = self._unsent[0]
            try:
                if self._producer is None:
                    self._open()
                self._publish(body, routing_key)
            except EncodeError:
                logger.exception(
                    "events %s cannot be serialised and are lost", routing_key
                )
            except Exception as exc:  # noqa: BLE001 - events must never end a worker
                self._lose(exc)
                return False
            self._unsent.popleft()
            self._is_away = False
        self._has_dropped = False
        return True

    def _fill(self) -> bool:
        """Put waiting events into messages, as Celery does; return whether any did."""
        taken: list[dict[str, Any]] = []
        with contextlib.suppress(IndexError):
            while len(taken) < _MOST_AT_ONCE:
                taken.append(self._waiting.popleft())
        for is_of_task, events in itertools.groupby(taken, _is_of_task):
            if is_of_task:
                self._unsent.append((list(events), "task.multi"))
            else:
                for event in events:
                    self._unsent.append((event, event["type"].replace("-", ".")))
        return bool(taken)

    def _publish(self, body: Any, routing_key: str) -> None:
        exchange = self._exchange
        self._producer.publish(
            body,
            routing_key=routing_key,
            exchange=exchange.name,
            declare=[exchange],
            serializer=self._serializer,
            headers={"hostname": self._hostname},
            # Kept in memory only: events are soon out of date.
            delivery_mode=1,
            retry=False,
        )

    def _open(self) -> None:
        self._connection = connection = self._connect()
        reach(connection)
        driver = connection.transport.driver_type
        self._exchange = _exchange(self._exchange_name, driver)
        self._producer = Producer(connection.channel(), auto_declare=False)

    def _lose(self, exc: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            logger.warning(
                "events cannot be published (%s: %s); tasks run all the same, and the "
                "newest %d events are kept for later",
                type(exc).__name__,
                exc,
                _MOST_WAITING,
            )
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            # A broken connection may raise while it closes, which tells nothing new.
            with contextlib.suppress(Exception):
                connection.release()


def _is_of_task(event: dict[str, Any]) -> bool:
    is_it: bool = event["type"].startswith("task-")
    return is_it


def _exchange(name: str, driver_type: str) -> Exchange:
    # As Celery declares it: the broker would refuse another type or durability.
    return Exchange(name, type="fanout" if driver_type in _FANOUT_DRIVERS else "topic")
