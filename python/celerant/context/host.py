"""The app as the rooms below `app` see it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from celerant.config import Settings
    from celerant.context.call import Call

__all__ = ["App", "Door"]


class Door(Protocol):
    """Takes canvases of every kind: tasks, groups, chains, chords."""

    def send(self, canvas: Any, call: Call) -> Any:
        """Send it and return its result."""

    def send_one(self, canvas: Any, call: Call) -> Any:
        """Send one task, past an `apply_async` that its class has of its own."""

    def run(self, canvas: Any, call: Call) -> Any:
        """Run it in place and return its finished result."""

    def freeze(self, canvas: Any, options: dict[str, Any]) -> Any:
        """Give all in it their ids, send nothing, and return its result."""

    def hold(self, canvas: Any, call: Call, *, unsent: str) -> Any:
        """Freeze a copy that is sent later, or never because of `unsent`."""

    def resume(self, canvas: Any, result: Any, unknown: Literal["send", "skip"]) -> Any:
        """Send the rest of an interrupted send, and return `result`."""


class App(Protocol):
    """The part of `celerant.Celerant` that tasks, canvases and workers use."""

    name: str
    #: The module that made it; a child process of a worker imports it.
    module: str
    conf: Settings

    @property
    def tasks(self) -> Mapping[str, Any]:
        """Registered tasks by name."""

    @property
    def sender(self) -> Door:
        """The sender, which sends, runs, freezes and holds canvases."""

    @property
    def asend(self) -> Callable[..., Coroutine[Any, Any, Any]]:
        """A function that sends a canvas from an event loop."""

    @property
    def loop_door(self) -> Any:
        """What sends from event loops."""
        ...

    @property
    def backend(self) -> Any:
        """The store of results."""

    @property
    def unfinished(self) -> int:
        """How many members this process waits for."""

    @property
    def queues(self) -> Any:
        """Queues by name; asking for a missing one makes it."""

    @property
    def control(self) -> Any:
        """Commands to running workers."""

    @property
    def child_setup(self) -> Callable[[], None]:
        """A picklable function that gives a child process this app and its tasks."""

    def routes(self) -> tuple[Any, Any]:
        """Return queues and router."""

    def connection_for_read(self) -> Any:
        """Return a new broker connection to consume from."""

    def connection_for_write(self) -> Any:
        """Return a new broker connection to send by."""

    def import_tasks(self) -> None:
        """Import the modules whose tasks its workers run."""

    def gen_task_name(self, name: str, module: str) -> str:
        """Return the name of a task without a given name."""

    @property
    def AsyncResult(self) -> Callable[..., Any]:  # noqa: N802 - Celery's name
        """A function that returns the result of a task by its id."""
