"""Check that the broker is reachable, and the app's queues there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celerant.app.task_queues import queues_of_tasks
from celerant.common.printable import line
from celerant.common.urls import masked, masked_text, transport
from celerant.doctor.finding import Finding, note, ok, problem, warning
from celerant.doctor.redis_servers import Server

if TYPE_CHECKING:
    from kombu import Connection

    from celerant.app import Celerant

__all__ = ["Reach", "check"]

_REFUSALS = ("AccessRefused", "AuthenticationError", "NotAllowed")


@dataclass(slots=True)
class Reach:
    """What the check of the broker tells the later checks."""

    is_up: bool = False
    #: The broker's ``host:port`` if it is a Redis, else empty.
    redis: str = ""


def check(app: Celerant, reach: Reach) -> Iterator[Finding]:
    """Connect to the broker and check it."""
    url = masked(app.conf.broker_write_url or app.conf.broker_url)
    if transport(app.conf.broker_url) == "memory":
        reach.is_up = True
        yield note(
            "broker",
            "memory://: messages stay in the process that sends them",
            "run a worker there: with app.worker(): ...; or set broker_url",
        )
        return
    with app.connection_for_write() as connection:
        try:
            # One attempt for each URL of a failover list.
            rest = max(0, len(connection.alt) - 1)
            began = time.perf_counter()
            connection.ensure_connection(max_retries=rest or 1, interval_start=0)
            _ = connection.default_channel
        except Exception as exc:  # noqa: BLE001 - a transport may raise anything
            yield _unreached(url, exc)
            return
        reach.is_up = True
        took = (time.perf_counter() - began) * 1000
        yield ok("broker", f"{connection.as_uri()} answers; connected in {took:.0f} ms")
        yield from _by_transport(connection, reach)
        yield from _queues(app, connection)


def _unreached(url: str, exc: Exception) -> Finding:
    cause = exc.__cause__ or exc
    name, text = type(cause).__name__, line(masked_text(str(cause)))
    if name in _REFUSALS:
        remedy = "check user, password and virtual host in broker_url"
    else:
        remedy = "start it, or correct host and port in broker_url; check the firewall"
    return problem("broker", f"{url} does not answer: {name}: {text}", remedy)


def _by_transport(connection: Connection, reach: Reach) -> Iterator[Finding]:
    driver = connection.transport.driver_type
    if driver == "redis":
        channel = connection.default_channel
        server = Server(channel.client, "broker")
        reach.redis = server.place
        yield from server.examined()
        yield from server.broker_rights(getattr(channel, "global_keyprefix", "") or "")
    elif driver == "amqp":
        told = connection.default_channel.connection.server_properties
        product, version = (_text(told.get(name)) for name in ("product", "version"))
        yield ok("broker", f"{product} {version}")
        options = connection.transport_options or {}
        if options.get("confirm_publish") is False:
            yield warning(
                "broker",
                "confirm_publish is off: a message that gets lost is not noticed",
                "leave it out of broker_transport_options",
            )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _queues(app: Celerant, connection: Connection) -> Iterator[Finding]:
    for name, queue in queues_of_tasks(app).items():
        # A refusal closes the channel.
        with connection.channel() as channel:
            try:
                found = queue.bind(channel).queue_declare(passive=True)
            except (*connection.channel_errors, *connection.connection_errors) as exc:
                if _is_refusal(exc):
                    yield _refused(name, exc)
                elif connection.transport.driver_type == "redis":
                    # Redis has no empty lists.
                    yield ok("queues", f"queue {name}: no message waits")
                else:
                    yield note(
                        "queues",
                        f"queue {name} is not there yet",
                        "the first message or the first worker makes it",
                    )
                continue
        yield ok("queues", f"queue {name}: {found.message_count:,} messages wait")
        if connection.transport.driver_type == "amqp":
            yield from _arguments(name, queue, connection)


def _arguments(name: str, queue: Any, connection: Connection) -> Iterator[Finding]:
    with connection.channel() as channel:
        try:
            # The queue exists: this changes nothing, and is refused if arguments
            # differ.
            queue.bind(channel).queue_declare()
        except connection.channel_errors as exc:
            text = f"queue {name} is there with other arguments: {line(exc)}"
            remedy = (
                "give it the same arguments in task_queues, or delete the queue when "
                "it is empty"
            )
            yield problem("queues", text, remedy)


def _is_refusal(exc: BaseException) -> bool:
    return type(exc).__name__ in _REFUSALS or "NOPERM" in str(exc)


def _refused(name: str, exc: BaseException) -> Finding:
    text = f"the user may not look at queue {name}: {line(exc)}"
    return problem("queues", text, "give the user of broker_url rights to it")
