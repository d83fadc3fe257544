"""Count and measure the messages that a canvas would send, without a broker."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

from kombu import Connection, Producer

from celerant.cli.options import json_text
from celerant.common.urls import AMQP, transport
from celerant.config.default_backend import backend_url

if TYPE_CHECKING:
    from celerant.app import Celerant
    from celerant.canvas.base import Canvas

__all__ = ["Count", "Rehearsal", "rehearse"]


@dataclass(slots=True)
class Count:
    """The messages of one task to one queue; sizes are bytes of headers and body."""

    queue: str
    task: str
    messages: int = 0
    total_bytes: int = 0
    largest_bytes: int = 0


@dataclass(slots=True)
class Rehearsal:
    """The messages that would leave."""

    counts: dict[tuple[str, str], Count] = field(default_factory=dict)
    #: The first message: its destination, headers, properties and body.
    first: dict[str, Any] | None = None

    @property
    def messages(self) -> int:
        """How many messages would leave."""
        return sum(count.messages for count in self.counts.values())

    def told(self) -> dict[str, Any]:
        """Return the counts and the first message as plain data."""
        return {
            "messages": self.messages,
            "counts": [asdict(count) for count in self.counts.values()],
            "first": self.first,
        }


def rehearse(canvas: Canvas[Any]) -> Rehearsal:
    """Encode all messages of a canvas and send none.

    It changes settings of the canvas's app, so that no result is stored and no task
    runs. So it is for a process that ends afterwards.

    Raises:
        CanvasError, ArgumentError, EncodeError, SettingError: As for a send.
    """
    app = cast("Celerant", canvas.app)
    _cut_off(app)
    made = Rehearsal()
    with Connection("memory://localhost//") as connection:
        canvas.apply_async(producer=_Recorder(connection, made, app))
    return made


def _cut_off(app: Celerant) -> None:
    app.close()
    app.conf.task_always_eager = False
    url = backend_url(app.conf)
    # A send announces chords to the store, so a store in memory takes its place. Over
    # rpc a send would open a reply queue; without results it does not, and chords are
    # refused in both cases.
    is_store = url is not None and url != "rpc://" and transport(url) not in AMQP
    app.conf.result_backend = "memory://" if is_store else "disabled://"


class _Recorder(Producer):  # type: ignore[misc]
    """A producer that counts messages."""

    #: False, so that each message comes to `publish`.
    supports_batch_publish = False

    def __init__(self, connection: Connection, made: Rehearsal, app: Celerant) -> None:
        super().__init__(connection, auto_declare=False)
        self._made = made
        self._app = app

    def publish(
        self, body: bytes, *, headers: dict[str, Any], **properties: Any
    ) -> None:
        """Count a message."""
        exchange = str(properties.get("exchange") or "")
        key = str(properties.get("routing_key") or "")
        queue, task = self._queue(exchange, key), str(headers.get("task"))
        size = len(body) + len(json_text(headers, lines=True).encode())
        counts = self._made.counts
        count = counts.setdefault((queue, task), Count(queue, task))
        count.messages += 1
        count.total_bytes += size
        count.largest_bytes = max(count.largest_bytes, size)
        if self._made.first is None:
            self._made.first = {
                "queue": queue,
                "exchange": exchange,
                "routing_key": key,
                "headers": headers,
                "properties": {
                    name: value
                    for name, value in properties.items()
                    if value is not None and name not in {"exchange", "routing_key"}
                },
                "body": _readable(body),
            }

    def _queue(self, exchange: str, key: str) -> str:
        for name, queue in self._app.queues.items():
            of_queue = queue.exchange.name if queue.exchange is not None else ""
            if of_queue == exchange and queue.routing_key == key:
                return name
        return f"{exchange}/{key}" if exchange else key


def _readable(body: bytes) -> Any:
    try:
        # Not by orjson, which rounds large integers and refuses lone surrogates.
        return json.loads(body)
    except ValueError:
        # The body has another serializer, or is compressed.
        return repr(body)
