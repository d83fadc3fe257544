"""Questions to running workers.

Source: ``celery.app.control.Inspect`` of celery 5.7.0.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kombu import Connection

    from celerant.app import Celerant

__all__ = ["Inspect"]

logger = logging.getLogger("celerant")


class Inspect:
    """Asks workers, stock and embedded ones; made by ``app.control.inspect()``.

    Each method returns the answers by the workers' names, or None if nobody
    answered in time; if one name was asked for, that worker's answer.
    """

    #: The app whose workers are asked; set by `Control.inspect`.
    app: Celerant | None = None

    def __init__(  # noqa: PLR0913, PLR0917 - Celery's
        self,
        destination: str | Sequence[str] | None = None,
        timeout: float = 1.0,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        connection: Connection | None = None,
        app: Celerant | None = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        """Ask these workers; see `Control.inspect`."""
        self.app = app
        self.destination = destination
        self.timeout = timeout
        self.callback = callback
        self.connection = connection
        self.limit = limit
        self.pattern = pattern
        self.matcher = matcher

    def __repr__(self) -> str:
        asked = "all workers" if self.destination is None else self.destination
        return f"<Inspect of {asked}: {self.app!r}>"

    def active(self, safe: bool | None = None) -> Any:  # noqa: FBT001 - Celery's form
        """Return the running tasks: a description of each.

        Args:
            safe: Leave out arguments that would have to be decoded.
        """
        return self._ask("active", safe=safe)

    def scheduled(self, safe: bool | None = None) -> Any:  # noqa: ARG002, FBT001 - Celery's form
        """Return the tasks that wait for their time."""
        return self._ask("scheduled")

    def reserved(self, safe: bool | None = None) -> Any:  # noqa: ARG002, FBT001 - Celery's form
        """Return the tasks that wait for a slot."""
        return self._ask("reserved")

    def revoked(self) -> Any:
        """Tell which ids must not run."""
        return self._ask("revoked")

    def registered(self, *taskinfoitems: str) -> Any:
        """Tell which tasks the workers know.

        Args:
            taskinfoitems: Attributes of tasks to tell, too.
        """
        return self._ask("registered", taskinfoitems=taskinfoitems)

    registered_tasks = registered

    def query_task(self, *ids: str | Iterable[str]) -> Any:
        """Return where tasks are, by their ids: ``{id: [state, description]}``."""
        named: list[str] = []
        for one in ids:
            named += [one] if isinstance(one, str) else one
        return self._ask("query_task", ids=named)

    def active_queues(self) -> Any:
        """Tell which queues are consumed."""
        return self._ask("active_queues")

    def stats(self) -> Any:
        """Tell the workers' broker, pool and counts."""
        return self._ask("stats")

    def conf(self, with_defaults: bool = False) -> Any:  # noqa: FBT001, FBT002 - Celery's form
        """Tell the settings, without secrets.

        Args:
            with_defaults: Also settings that nobody set.
        """
        return self._ask("conf", with_defaults=with_defaults)

    def ping(self, destination: Sequence[str] | None = None) -> Any:
        """Return the workers that answer.

        Args:
            destination: Names of workers, from now on.
        """
        if destination:
            self.destination = destination
        return self._ask("ping")

    def clock(self) -> Any:
        """Tell the logical clocks."""
        return self._ask("clock")

    def report(self) -> Any:
        """Tell versions and settings, as one text."""
        return self._ask("report")

    def hello(self, from_node: str, revoked: Any = None) -> Any:
        """Exchange the ids of revoked tasks, as workers do when they start.

        Args:
            from_node: The name of the worker that asks.
            revoked: Ids that must not run.
        """
        return self._ask("hello", from_node=from_node, revoked=revoked)

    def memsample(self) -> Any:
        """Let stock workers note how much memory they take; needs psutil there."""
        return self._ask("memsample")

    def memdump(self, samples: int = 10) -> Any:
        """Return the memory samples of stock workers."""
        return self._ask("memdump", samples=samples)

    def objgraph(self, type: str = "Request", n: int = 200, max_depth: int = 10) -> Any:  # noqa: A002 - Celery's name
        """Make stock workers draw the references to objects; needs objgraph there."""
        return self._ask("objgraph", num=n, max_depth=max_depth, type=type)

    def _ask(self, command: str, **arguments: Any) -> Any:
        if self.app is None:
            msg = "Inspect has no app: use app.control.inspect()"
            raise ValueError(msg)
        one = self.destination if isinstance(self.destination, str) else None
        answers = self.app.control.broadcast(
            command,
            arguments,
            destination=self.destination if one is None else [one],
            connection=self.connection,
            reply=True,
            timeout=self.timeout,
            limit=self.limit,
            callback=self.callback,
            pattern=self.pattern,
            matcher=self.matcher,
        )
        by_name: dict[str, Any] = {}
        for answer in answers:
            for name in answer.keys() & by_name.keys():
                logger.warning(
                    "two workers are named %s: give each its own hostname", name
                )
            by_name.update(answer)
        if one is not None:
            return by_name.get(one)
        return by_name or None
