"""Remote control of stock and embedded workers: one broadcast reaches all.

Source: ``celery.app.control`` of celery 5.7.0.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from celerant.app.broadcasting import Broadcasting
from celerant.app.inspecting import Inspect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from kombu import Connection
    from typing_extensions import Unpack

    from celerant.app.broadcasting import BroadcastOptions

__all__ = ["Control"]

#: How many ids one broadcast has: some 200 KB, which every worker decodes at once.
_IDS_AT_ONCE = 5_000
_TERM = "SIGTERM"


class Control(Broadcasting):
    """Sends commands to the workers on an app's broker.

    A command reaches the workers that are there at that time; a broadcast is not
    kept for later ones. With ``memory://`` those are this process's workers.

    Every command takes `destination`, names of workers (None: all), and the options of
    `broadcast`; with ``reply=True`` it returns the answers.
    """

    def inspect(  # noqa: PLR0913 - Celery's
        self,
        destination: str | Sequence[str] | None = None,
        timeout: float = 1.0,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        connection: Connection | None = None,
        *,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> Inspect:
        """Return the questions to workers: ``app.control.inspect().active()``.

        Args:
            destination: Names of workers; None asks all. For one name the answer is the
                worker's alone.
            timeout: Seconds to wait for one more answer.
            callback: Called with each ``{name: answer}`` as it comes.
            connection: Instead of a new one.
            limit: How many answers are enough.
            pattern: Only workers whose name fits it.
            matcher: The way to match: ``"glob"`` or ``"pcre"``.
        """
        return Inspect(
            destination,
            timeout,
            callback,
            connection,
            self.app,
            limit,
            pattern,
            matcher,
        )

    def purge(self, connection: Connection | None = None) -> int:
        """Discard all tasks that wait in the app's queues; return how many.

        Messages that a worker has taken already stay.

        Args:
            connection: Instead of a new one.
        """
        count = 0
        queues = self.app.queues
        with self._connected(connection) as connected, connected.channel() as channel:
            for name in queues.declared:
                queue = queues[name].bind(channel)
                # A queue that is not there yet would be an error.
                queue.declare()
                count += queue.purge() or 0
        return count

    discard_all = purge

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Sequence[str] | None = None,
        terminate: bool = False,  # noqa: FBT001, FBT002 - Celery's order
        signal: str | int | None = _TERM,
        **options: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Keep tasks from running.

        A worker that has one discards it and stores REVOKED.

        Args:
            task_id: One id, or any number of them.
            destination: Names of workers; None tells all.
            terminate: Also end running ones, if processes run them.
            signal: The signal that ends them, by name or number.
            options: Options of `broadcast`.
        """
        ids = [task_id] if isinstance(task_id, str) else task_id
        answers = []
        for chunk in _chunks(ids):
            arguments = {"task_id": chunk, "terminate": terminate, "signal": signal}
            answers += self.broadcast("revoke", arguments, destination, **options)
        return answers

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Sequence[str] | None = None,
        terminate: bool = False,  # noqa: FBT001, FBT002 - Celery's order
        signal: str | int | None = _TERM,
        **options: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Keep tasks with these stamps from running; see `revoke`.

        Args:
            headers: Values, or lists of values, by the stamped header's name.
            destination: Names of workers; None tells all.
            terminate: Also end running ones.
            signal: The signal that ends them.
            options: Options of `broadcast`.
        """
        arguments = {
            "headers": dict(headers),
            "terminate": terminate,
            "signal": signal,
        }
        return self.broadcast(
            "revoke_by_stamped_headers", arguments, destination, **options
        )

    def terminate(
        self,
        task_id: str | Iterable[str],
        destination: Sequence[str] | None = None,
        signal: str | int | None = _TERM,
        **options: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Keep tasks from running, and end running ones; see `revoke`."""
        return self.revoke(task_id, destination, True, signal, **options)  # noqa: FBT003 - as above

    def ping(
        self,
        destination: Sequence[str] | None = None,
        timeout: float = 1.0,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Return ``{name: {"ok": "pong"}}`` of each worker that answers in time.

        Args:
            destination: Names of workers; None asks all.
            timeout: Seconds to wait for one more answer.
            options: Options of `broadcast`.
        """
        options.setdefault("reply", True)
        return self.broadcast("ping", {}, destination, timeout=timeout, **options)

    def rate_limit(
        self,
        task_name: str,
        rate_limit: float | str | None,
        destination: Sequence[str] | None = None,
        **options: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Let a task run no more often than this; only stock workers obey.

        Args:
            task_name: The task's name.
            rate_limit: Tasks per second, or text such as ``"100/m"``.
            destination: Names of workers; None tells all.
            options: Options of `broadcast`.
        """
        arguments = {"task_name": task_name, "rate_limit": rate_limit}
        return self.broadcast("rate_limit", arguments, destination, **options)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: Sequence[str] | None = None,
        **options: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Set a task's limits, for messages that bring none of their own.

        Args:
            task_name: The task's name.
            soft: Seconds until it gets a `SoftTimeLimitExceeded`.
            hard: Seconds until it is ended.
            destination: Names of workers; None tells all.
            options: Options of `broadcast`.
        """
        arguments = {"task_name": task_name, "hard": hard, "soft": soft}
        return self.broadcast("time_limit", arguments, destination, **options)

    def add_consumer(  # noqa: PLR0913, PLR0917 - Celery's
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        destination: Sequence[str] | None = None,
        **more: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Let workers consume one more queue.

        Args:
            queue: Its name, and by default that of its exchange and its routing key.
            exchange: Used if the settings do not have the queue.
            exchange_type: As `exchange`.
            routing_key: As `exchange`.
            options: Options of `kombu.Queue.from_dict`.
            destination: Names of workers; None tells all.
            more: Options of `broadcast`.
        """
        arguments = {
            "queue": queue,
            "exchange": exchange,
            "exchange_type": exchange_type,
            "routing_key": routing_key,
            **(options or {}),
        }
        return self.broadcast("add_consumer", arguments, destination, **more)

    def cancel_consumer(
        self,
        queue: str,
        destination: Sequence[str] | None = None,
        **options: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Let workers stop consuming a queue."""
        return self.broadcast(
            "cancel_consumer", {"queue": queue}, destination, **options
        )

    def pool_grow(
        self,
        n: int = 1,
        destination: Sequence[str] | None = None,
        **options: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Let workers run `n` more tasks side by side."""
        return self.broadcast("pool_grow", {"n": n}, destination, **options)

    def pool_shrink(
        self,
        n: int = 1,
        destination: Sequence[str] | None = None,
        **options: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Let workers run `n` fewer tasks side by side."""
        return self.broadcast("pool_shrink", {"n": n}, destination, **options)

    def pool_restart(
        self,
        modules: Sequence[str] | None = None,
        reload: bool = False,  # noqa: FBT001, FBT002 - Celery's order
        reloader: Any = None,
        destination: Sequence[str] | None = None,
        **options: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Let workers replace their processes; needs ``worker_pool_restarts``.

        Args:
            modules: Modules that stock workers import then.
            reload: Whether stock workers import them again.
            reloader: The function that does it.
            destination: Names of workers; None tells all.
            options: Options of `broadcast`.
        """
        arguments = {"modules": modules, "reload": reload, "reloader": reloader}
        return self.broadcast("pool_restart", arguments, destination, **options)

    def autoscale(
        self,
        max: int,  # noqa: A002 - Celery's name
        min: int,  # noqa: A002 - Celery's name
        destination: Sequence[str] | None = None,
        **options: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Set the limits of stock workers that scale their slots."""
        arguments = {"max": max, "min": min}
        return self.broadcast("autoscale", arguments, destination, **options)

    def enable_events(
        self,
        destination: Sequence[str] | None = None,
        **options: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Let workers tell monitors of tasks."""
        return self.broadcast("enable_events", {}, destination, **options)

    def disable_events(
        self,
        destination: Sequence[str] | None = None,
        **options: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Let workers stop telling monitors of tasks."""
        return self.broadcast("disable_events", {}, destination, **options)

    def heartbeat(
        self,
        destination: Sequence[str] | None = None,
        **options: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Let workers tell monitors now that they live."""
        return self.broadcast("heartbeat", {}, destination, **options)

    def shutdown(
        self,
        destination: Sequence[str] | None = None,
        **options: Unpack[BroadcastOptions],
    ) -> list[dict[str, Any]]:
        """Make workers stop after their running tasks."""
        return self.broadcast("shutdown", {}, destination, **options)

    def election(
        self,
        id: str,  # noqa: A002 - Celery's name
        topic: str,
        action: Any = None,
        connection: Connection | None = None,
    ) -> None:
        """Let one of the stock workers do `action`; they vote, and ours do not."""
        arguments = {"id": id, "topic": topic, "action": action}
        self.broadcast("election", arguments, connection=connection)


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while chunk := list(islice(rest, _IDS_AT_ONCE)):
        yield chunk
