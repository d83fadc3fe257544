"""Ask the other workers at the start which tasks were revoked.

A revocation is a broadcast, which only workers that run can hear. Celery's workers ask
the same ("mingle"), and answer ours.
Source: ``celery.worker.consumer.mingle`` of celery 5.7.0.
"""

from __future__ import annotations

import logging
import socket
import threading
import uuid
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from kombu import Consumer

from celerant._core import monotonic
from celerant.common.limits import Limits
from celerant.common.mailbox import make_mailbox
from celerant.common.printable import line
from celerant.common.unopened import leave_unopened
from celerant.worker.connecting import reach

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celerant.context.host import App
    from celerant.worker.panel import Panel

__all__ = ["Mingling"]

logger = logging.getLogger("celerant.worker")

#: Seconds that the others have to answer: Celery's number.
_SECONDS = 1.0
#: Seconds that a worker waits at most for a broker that does not answer.
_MOST = 2.0
#: Seconds between two looks whether the worker stops.
_LOOK_INTERVAL = 0.1
#: Brokers over which Celery's workers do the same.
_TRANSPORTS = frozenset({"amqp", "redis", "gcpubsub"})


class Mingling:
    """Asks once, over a connection of its own, in a thread of its own.

    Args:
        app: The worker's app; None asks nobody.
        panel: Of the worker.
        when: As `Worker.mingles`.
    """

    def __init__(
        self,
        app: App | None = None,
        panel: Panel | None = None,
        when: Literal["before", "aside"] | None = None,
    ) -> None:
        self._when = when
        self._is_closing = threading.Event()
        self._thread: threading.Thread | None = None
        if app is not None and panel is not None and when is not None:
            self._thread = threading.Thread(
                target=self._run, args=(app, panel), name="celerant-mingle", daemon=True
            )

    @contextmanager
    def before(self) -> Iterator[None]:
        """If that is when it asks, ask meanwhile and wait for answers at the end."""
        thread = self._thread if self._when == "before" else None
        if thread is None:
            yield
            return
        thread.start()
        try:
            yield
        except BaseException:
            self.close()
            raise
        thread.join(_MOST)

    def aside(self) -> None:
        """If that is when it asks, begin to ask."""
        if self._thread is not None and self._when == "aside":
            self._thread.start()

    def close(self) -> None:
        """Wait for no more answers."""
        self._is_closing.set()

    def _run(self, app: App, panel: Panel) -> None:
        level = logging.DEBUG
        try:
            with app.connection_for_read() as connection:
                # If the broker is away, the worker itself says so.
                reach(connection)
                level = logging.WARNING
                if connection.transport.driver_type in _TRANSPORTS:
                    self._ask(app.conf, panel, connection)
        except Exception as exc:  # noqa: BLE001 - a worker runs without it too
            logger.log(
                level,
                "what was revoked before worker %s started is unknown: %s",
                panel.hostname,
                line(exc),
            )

    def _ask(self, conf: Any, panel: Panel, connection: Any) -> None:
        channel = connection.default_channel
        # Anybody may answer.
        leave_unopened(
            channel,
            Limits(conf.celerant_message_size_limit, conf.celerant_message_depth_limit),
        )
        mailbox = make_mailbox(conf, panel.worker_state.clock)(connection)
        question = {
            "from_node": panel.hostname,
            "revoked": panel.worker_state.revoked.ids(),
            # Two workers may have one name; Celery's ignore this.
            "sender": panel.identity,
        }
        consumer = Consumer(
            channel,
            [mailbox.reply_queue],
            accept=mailbox.accept,
            no_ack=True,
            callbacks=[partial(_take_in, panel)],
            on_decode_error=_ignore,
        )
        with consumer:
            mailbox._publish(  # noqa: SLF001 - what Celery itself calls
                "hello",
                question,
                reply_ticket=uuid.uuid4().hex,
                channel=channel,
                timeout=_SECONDS,
            )
            deadline = monotonic() + _SECONDS
            while not self._is_closing.is_set():
                left = deadline - monotonic()
                if left <= 0:
                    return
                with suppress(socket.timeout):
                    connection.drain_events(timeout=min(left, _LOOK_INTERVAL))


def _take_in(panel: Panel, body: Any, _message: Any) -> None:
    """Take in an answer: ``{name: {"revoked": ids, "clock": time}}``.

    The worker's own is None.
    """
    answers = body.values() if isinstance(body, dict) else ()
    for answer in answers:
        if not isinstance(answer, dict):
            continue
        time, revoked = answer.get("clock"), answer.get("revoked")
        if isinstance(time, int):
            panel.worker_state.clock.adjust(time)
        # Celery before 5.7 answers with a dict of ids.
        if not isinstance(revoked, (list, dict)):
            continue
        ids = [task_id for task_id in revoked if isinstance(task_id, str)]
        panel.worker_state.revoked.add(ids)
        if ids:
            logger.info("tasks revoked before the start: %d", len(ids))


def _ignore(_message: Any, exc: Exception) -> None:
    logger.debug("an answer to hello is not understood: %r", exc)
