"""One message to all workers of a broker, and their answers.

Source: ``celery.app.control`` and ``kombu.pidbox``, celery 5.7.0 and kombu 5.7.0.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypedDict

from kombu.matcher import match

from celerant.common.limits import Limits
from celerant.common.mailbox import make_mailbox
from celerant.common.unopened import leave_unopened
from celerant.common.urls import scheme
from celerant.context.workers import workers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kombu import Connection

    from celerant.app import Celerant

__all__ = ["BroadcastOptions", "Broadcasting", "no_worker_here"]


class BroadcastOptions(TypedDict, total=False):
    """Options of any command: how it is sent, and whether it waits for answers."""

    #: Instead of a new one.
    connection: Connection | None
    #: Wait for answers.
    reply: bool
    #: Seconds to wait for one more answer; None: one.
    timeout: float | None
    #: How many answers are enough.
    limit: int | None
    #: Called with each ``{name: answer}`` as it comes.
    callback: Callable[[dict[str, Any]], Any] | None
    channel: Any
    #: Only workers whose name fits it.
    pattern: str | None
    #: The way to match: ``"glob"`` or ``"pcre"``.
    matcher: str | None


class Broadcasting:
    """The part of `Control` that all its commands go through."""

    def __init__(self, app: Celerant) -> None:
        """Use the broker of `app`."""
        self.app = app

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.app!r}>"

    def broadcast(  # noqa: PLR0913, PLR0917 - Celery's
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Sequence[str] | None = None,
        connection: Connection | None = None,
        reply: bool = False,  # noqa: FBT001, FBT002 - Celery's order
        timeout: float | None = 1.0,
        limit: int | None = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **more: Any,
    ) -> list[dict[str, Any]]:
        """Send any command of Celery's remote control.

        Args:
            command: Celery's name of it.
            arguments: By name.
            destination: Names of workers; None tells all.
            connection: Instead of a new one.
            reply: Wait for answers.
            timeout: Seconds to wait for one more answer; None: one.
            limit: How many answers are enough.
            callback: Called with each ``{name: answer}`` as it comes.
            channel: kombu's, instead of the connection's.
            pattern: Only workers whose name fits it.
            matcher: The way to match: ``"glob"`` (by default) or ``"pcre"``.
            more: Further arguments of the command.

        Returns:
            One ``{name: answer}`` for each worker that answered.

        Raises:
            ValueError: The destination is one name and not a list.
            Exception: The transport's own, if the broker is not reachable.
        """
        if isinstance(destination, str):
            msg = f"destination must be a list of names: [{destination!r}]"
            raise ValueError(msg)  # noqa: TRY004 - as kombu's
        given = {**(arguments or {}), **more}
        if pattern is not None:
            matcher = matcher or "glob"
        with self._connected(connection) as connected:
            if connected.transport_cls == "memory":
                answers = self._here(command, given, destination, pattern, matcher)
                # All have done it, but not all answers were read.
                answers = answers[:limit] if reply else []
                for answer in answers if callback else ():
                    callback(answer)  # type: ignore[misc]  # the loop looks
                return answers
            conf = self.app.conf
            limits = Limits(
                conf.celerant_message_size_limit, conf.celerant_message_depth_limit
            )
            # Anybody may answer.
            leave_unopened(connected.default_channel, limits)
            mailbox = make_mailbox(conf)(connected)
            heard = mailbox._broadcast(  # noqa: SLF001 - what Celery itself calls
                command,
                given,
                destination=None if destination is None else list(destination),
                reply=reply,
                timeout=1.0 if timeout is None else timeout,
                limit=limit,
                callback=callback,
                channel=channel,
                pattern=pattern,
                matcher=matcher,
            )
            return list(heard or ())

    def _connected(self, connection: Connection | None) -> Any:
        if connection is not None:
            return nullcontext(connection)
        return self.app.connection_for_write()

    def _here(
        self,
        command: str,
        arguments: dict[str, Any],
        destination: Sequence[str] | None,
        pattern: str | None,
        matcher: str | None,
    ) -> list[dict[str, Any]]:
        return [
            {worker.hostname: worker.panel.handle(command, arguments)}
            for worker in workers_of(self.app.name)
            if worker.panel is not None
            and (destination is None or worker.hostname in destination)
            and (pattern is None or match(worker.hostname, pattern, matcher))
        ]


def no_worker_here(app: Celerant) -> str | None:
    """Return why nothing runs: memory has no worker outside of this process."""
    if workers_of(app.name):
        return None
    if scheme(app.conf.broker_read_url) != "memory":
        return None
    return (
        f"no worker of app {app.name} runs in this process, which alone has the "
        f"messages of memory://; start one: with app.worker(): ..."
    )
