"""Record the messages that leave this process while a test runs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kombu import Queue
from kombu.compression import decompress
from kombu.serialization import loads, registry

from celerant.canvas.base import Canvas
from celerant.canvas.showing import called
from celerant.common.printable import shown
from celerant.dispatch.carrier import Carrier
from celerant.dispatch.wires.generic import GenericLayout
from celerant.errors import CelerantError

if TYPE_CHECKING:
    from celerant._core import Chunk, Message
    from celerant.tasks.task import Task

__all__ = ["Sent", "SentTask"]

#: The most messages that the text of a failure shows.
_MOST = 20
#: The keys of a message's embed with work that runs after its task.
_FOLLOWING = ("callbacks", "errbacks", "chain", "chord")


@dataclass(frozen=True, slots=True)
class SentTask:
    """One message that left."""

    #: Name of the task.
    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    queue: str
    headers: dict[str, Any]
    #: Callbacks, errbacks, later steps (the next one last), and the chord's body.
    embed: dict[str, Any]

    @property
    def id(self) -> str:
        """The task's id."""
        return str(self.headers["id"])

    @property
    def shape(self) -> Any:
        """Task, arguments and all work after it, without ids, to compare messages."""
        following = [_shapes(self.embed.get(name)) for name in _FOLLOWING]
        return _frozen((self.task, self.args, self.kwargs, following))

    def __str__(self) -> str:
        text = called(self.task, tuple(self.args), self.kwargs)
        for step in reversed(self.embed.get("chain") or ()):
            text += f" | {_call(step)}"
        body = self.embed.get("chord")
        if body:
            text += f", then {_call(body)}"
        return f"{text} to {self.queue}"


class Sent(Sequence[SentTask]):
    """The messages that have left since the test began, in order, those of tasks too.

    A call asserts that a message has left: ``assert_sent(add.s(1, 2))``; see
    `__call__`.
    """

    def __init__(self) -> None:
        self._sent: list[SentTask] = []
        self._local = threading.local()

    def __len__(self) -> int:
        return len(self._sent)

    def __getitem__(self, index: Any) -> Any:
        return self._sent[index]

    def __repr__(self) -> str:
        return "\n".join(self._told()) or "<nothing was sent>"

    def clear(self) -> None:
        """Forget the messages so far."""
        self._sent.clear()

    def __call__(
        self,
        what: Canvas[Any] | Task[Any, Any] | str,
        *,
        times: int | None = None,
        queue: str | None = None,
    ) -> list[SentTask]:
        """Assert that a canvas or task was sent, and return its messages.

        Args:
            what: If it is a canvas, each of its messages must have left with the same
                arguments and the same work after it. If it is a task or its name, a
                message of the task must have left with any arguments.
            times: How often exactly; None is at least once, and 0 is never.
            queue: If given, only messages to this queue count.

        Raises:
            AssertionError: It was not sent so; the text lists the sent messages.
        """
        __tracebackhide__ = True
        mine = [sent for sent in self._sent if queue in {None, sent.queue}]
        if not isinstance(what, Canvas):
            name = what if isinstance(what, str) else str(what.name)
            found = [sent for sent in mine if sent.task == name]
            self._check(name, len(found), 1, times, queue)
            return found
        expected = self._of(what)
        wanted = Counter(one.shape for one in expected)
        texts = {one.shape: str(one).rpartition(" to ")[0] for one in expected}
        had = Counter(sent.shape for sent in mine)
        for shape, count in wanted.items():
            self._check(texts[shape], had[shape], count, times, queue)
        return [sent for sent in mine if sent.shape in wanted]

    def nothing(self) -> None:
        """Assert that no message was sent."""
        __tracebackhide__ = True
        if self._sent:
            raise AssertionError("\n".join(["something was sent:", *self._told()]))

    def _check(
        self, text: str, had: int, count: int, times: int | None, queue: str | None
    ) -> None:
        __tracebackhide__ = True
        is_so = had >= count if times is None else had == count * times
        if is_so:
            return
        where = "" if queue is None else f" to {queue}"
        wanted = f"at least {count}" if times is None else str(count * times)
        lines = [f"{text}{where}: sent {had} times, not {wanted}; what was sent:"]
        raise AssertionError("\n".join([*lines, *(self._told() or ["  nothing"])]))

    def _told(self) -> list[str]:
        lines = [f"  {sent}" for sent in self._sent[:_MOST]]
        more = len(self._sent) - _MOST
        return [*lines, f"  ... and {more} more"] if more > 0 else lines

    def _of(self, canvas: Canvas[Any]) -> list[SentTask]:
        """Return the messages that a canvas would send."""
        conf: Any = canvas.app.conf
        if conf.task_always_eager:
            msg = (
                "task_always_eager is on: tasks run in the caller and nothing is sent; "
                "assert on what they did, or take the fixture celerant_eager away"
            )
            raise CelerantError(msg)
        expected: list[SentTask] = []
        self._local.expected = expected
        try:
            canvas.apply_async()
        finally:
            del self._local.expected
        return expected

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record the messages of all apps of this process in a ``with`` block."""
        send = Carrier.send

        def recorded(carrier: Carrier, chunk: Chunk) -> None:
            expected: list[SentTask] | None = getattr(self._local, "expected", None)
            messages = list(_read(chunk))
            if expected is not None:
                expected.extend(messages)
                return
            send(carrier, chunk)
            self._sent.extend(messages)

        Carrier.send = recorded  # type: ignore[method-assign,assignment]
        try:
            yield
        finally:
            Carrier.send = send  # type: ignore[method-assign]


def _read(chunk: Chunk) -> Iterator[SentTask]:
    if chunk.has_wired:
        msg = (
            "messages to Redis and RabbitMQ are not recorded; take the fixture "
            "celerant_app, which keeps them in memory"
        )
        raise CelerantError(msg)
    for message in chunk.generic():
        yield _one(message)


def _one(message: Message) -> SentTask:
    layout: GenericLayout = message.layout
    headers, body = layout.headers_of(message), message.body
    if headers.get("compression"):
        body = decompress(body, headers["compression"])
    publish = layout.publish
    args, kwargs, embed = loads(
        body,
        publish["content_type"],
        publish["content_encoding"],
        # This process has made the message.
        accept=set(registry.type_to_name),
    )
    queues = [one.name for one in layout.declare if isinstance(one, Queue)]
    queue = queues[0] if queues else str(publish["routing_key"])
    return SentTask(
        str(headers["task"]), list(args), dict(kwargs), queue, headers, embed or {}
    )


def _call(signature: Mapping[str, Any]) -> str:
    args, kwargs = tuple(signature.get("args") or ()), signature.get("kwargs") or {}
    if signature.get("subtask_type"):
        return f"{signature['subtask_type']}(...)"
    return called(str(signature.get("task")), args, dict(kwargs))


def _shapes(signatures: Any) -> Any:
    if isinstance(signatures, Mapping):
        return _shape(signatures)
    return [_shape(one) for one in signatures or ()]


def _shape(signature: Mapping[str, Any]) -> Any:
    """Return a signature and all inside it, without ids and options."""
    options = signature.get("options") or {}
    links = [_shapes(options.get(name)) for name in ("link", "link_error", "chord")]
    kwargs = {
        name: _nested(value) for name, value in (signature.get("kwargs") or {}).items()
    }
    return [signature.get("task"), list(signature.get("args") or ()), kwargs, links]


def _nested(value: Any) -> Any:
    if isinstance(value, Mapping) and "task" in value and "subtask_type" in value:
        return _shape(value)
    if isinstance(value, list):
        return [_nested(one) for one in value]
    return value


def _frozen(value: Any) -> Any:
    """Return a hashable stand-in for a value; equal values have equal ones."""
    if isinstance(value, Mapping):
        # A set, because keys of several classes cannot be sorted.
        return frozenset((str(k), _frozen(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(one) for one in value)
    try:
        hash(value)
    except TypeError:
        return shown(value)
    return value
