"""Remote control of workers, stock and embedded ones: one broadcast for all.

Source: ``celery.app.control`` of celery 5.7.0.
"""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

from celerant.urls import scheme

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from celerant.app import Celerant

__all__ = ["Control", "no_worker_here"]

#: Ids in one broadcast: some 200 KB, which every worker decodes at once.
_IDS_AT_ONCE = 5_000


class Control:
    """Tells the workers on an app's broker what to do.

    What is sent reaches the workers that are there at that time; a broadcast is not
    kept for later ones. With ``memory://`` those are this process's workers.
    """

    def __init__(self, app: Celerant) -> None:
        """Use the broker of `app`."""
        self._app = app

    def revoke(
        self,
        task_id: str | Iterable[str],
        *,
        terminate: bool = False,
        signal: str | int | None = None,
        destination: Sequence[str] | None = None,
    ) -> None:
        """Let tasks not run; a worker that has one discards it and says REVOKED.

        Args:
            task_id: One id, or any number of them.
            terminate: Also end those that run, where processes run them.
            signal: What ends them, by name or number; SIGTERM by default.
            destination: Names of workers; None tells all.
        """
        ids = [task_id] if isinstance(task_id, str) else task_id
        for chunk in _chunks(ids):
            arguments = {"task_id": chunk, "terminate": terminate, "signal": signal}
            self.broadcast("revoke", arguments, destination=destination)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        *,
        terminate: bool = False,
        signal: str | int | None = None,
        destination: Sequence[str] | None = None,
    ) -> None:
        """Let tasks with these stamps not run; see `revoke`.

        Args:
            headers: Values, or lists of values, by the stamped header's name.
            terminate: Also end those that run.
            signal: What ends them.
            destination: Names of workers; None tells all.
        """
        arguments = {
            "headers": dict(headers),
            "terminate": terminate,
            "signal": signal,
        }
        self.broadcast("revoke_by_stamped_headers", arguments, destination=destination)

    def ping(
        self, destination: Sequence[str] | None = None, timeout: float = 1.0
    ) -> list[dict[str, Any]]:
        """Return ``{name: {"ok": "pong"}}`` of each worker that answers in time.

        Args:
            destination: Names of workers; None asks all.
            timeout: Seconds to wait for one more answer.
        """
        return self.broadcast(
            "ping", destination=destination, reply=True, timeout=timeout
        )

    def shutdown(self, destination: Sequence[str] | None = None) -> None:
        """Have workers stop after what they run.

        Args:
            destination: Names of workers; None stops all.
        """
        self.broadcast("shutdown", destination=destination)

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        destination: Sequence[str] | None = None,
        reply: bool = False,
        timeout: float = 1.0,
    ) -> list[dict[str, Any]]:
        """Send any command of Celery's remote control.

        Args:
            command: Celery's name of it.
            arguments: By name.
            destination: Names of workers; None tells all.
            reply: Wait for answers.
            timeout: Seconds to wait for one more answer.

        Returns:
            One ``{name: answer}`` for each worker that answered.

        Raises:
            Exception: The transport's own, where the broker is not reachable.
        """
        given = dict(arguments or {})
        with self._app.connection_for_write() as connection:
            if connection.transport_cls == "memory":
                answers = self._here(command, given, destination)
                return answers if reply else []
            from celerant.worker.mailbox import make_mailbox  # noqa: PLC0415 - senders need no worker

            mailbox = make_mailbox(self._app.conf)(connection)
            heard = mailbox._broadcast(  # noqa: SLF001 - what Celery itself calls
                command,
                given,
                destination=destination,
                reply=reply,
                timeout=timeout,
            )
            return list(heard or ())

    def _here(
        self,
        command: str,
        arguments: dict[str, Any],
        destination: Sequence[str] | None,
    ) -> list[dict[str, Any]]:
        from celerant.worker import workers_of  # noqa: PLC0415 - senders need no worker

        return [
            {worker.hostname: worker.panel.handle(command, arguments)}
            for worker in workers_of(self._app.name)
            if worker.panel is not None
            and (destination is None or worker.hostname in destination)
        ]


def no_worker_here(app: Celerant) -> str | None:
    """Return why nothing runs: what is in this process's memory has no worker here."""
    # Who has not imported the worker has none.
    module = sys.modules.get("celerant.worker")
    if module is not None and module.workers_of(app.name):
        return None
    if scheme(app.conf.broker_read_url or app.conf.broker_url) != "memory":
        return None
    return (
        f"no worker of app {app.name} runs in this process, which alone has the "
        f"messages of memory://; start one: with app.worker(): ..."
    )


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while chunk := list(islice(rest, _IDS_AT_ONCE)):
        yield chunk
