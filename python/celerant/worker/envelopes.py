"""Messages whose envelope even kombu cannot read.

Anybody may push anything to a list or a channel of Redis. kombu decodes it without a
guard, so garbage would look like a lost broker.
"""

from __future__ import annotations

from queue import Empty
from typing import TYPE_CHECKING, Any

from celerant.common.printable import line, shown
from celerant.common.unopened import leave_unopened
from celerant.worker.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from celerant.common.limits import Limits

__all__ = ["guard_envelopes", "unreadable"]

_POP, _LISTEN = "BRPOP", "LISTEN"
#: How many bytes of an unreadable message are shown.
_SHOWN = 400


def guard_envelopes(
    channel: Any,
    lost: tuple[type[BaseException], ...],
    refuse: Callable[[Refused, str], None],
    limits: Limits,
) -> None:
    """Make `channel` refuse unreadable messages instead of raising.

    Args:
        channel: kombu's, which does not consume yet.
        lost: The errors of a lost connection; these are raised as before.
        refuse: Called with the refusal and the name of the message's queue.
        limits: The limits of messages.
    """
    leave_unopened(channel, limits)
    # kombu counts KeyError as a lost connection. When it reads a message, though,
    # KeyError means that the envelope lacks something.
    passed: tuple[type[BaseException], ...] = (
        *(error for error in lost if error is not KeyError),
        Empty,
    )
    _guard_deliveries(channel.connection, passed, refuse)
    handlers = getattr(channel, "handlers", {})
    if _POP in handlers:
        _guard_pops(channel, passed, refuse, limits)
    if _LISTEN in handlers:
        handlers[_LISTEN] = _guarded(handlers[_LISTEN], passed, refuse)


def _guard_deliveries(
    transport: Any,
    passed: tuple[type[BaseException], ...],
    refuse: Callable[[Refused, str], None],
) -> None:
    """Guard the messages that a virtual transport brings, broadcasts too.

    AMQP frames its messages itself, so no envelope can be broken.
    """
    deliver = getattr(transport, "_deliver", None)
    if deliver is None or hasattr(deliver, "is_guarded"):
        return

    def deliver_or_refuse(message: Any, queue: str) -> None:
        try:
            deliver(message, queue)
        except passed:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever was sent
            refuse(unreadable(exc, shown(message)), queue)

    deliver_or_refuse.is_guarded = True  # type: ignore[attr-defined]
    transport._deliver = deliver_or_refuse  # noqa: SLF001 - kombu has no public one


def _guard_pops(
    channel: Any,
    passed: tuple[type[BaseException], ...],
    refuse: Callable[[Refused, str], None],
    limits: Limits,
) -> None:
    """Guard popped messages that are no JSON or are too large."""
    handlers = channel.handlers
    read, client = handlers[_POP], channel.client
    parse = client.response_callbacks.get(_POP)
    popped: Any = None

    def parse_and_keep(response: Any, **options: Any) -> Any:
        nonlocal popped
        popped = response if parse is None else parse(response, **options)
        if popped:
            limits.check_size(len(popped[1]))
        return popped

    def read_or_refuse() -> Any:
        nonlocal popped
        popped = None
        try:
            return read()
        except passed:
            raise
        except Exception as exc:
            if popped is None:
                raise
            key, raw = (
                bytes(part[:_SHOWN]).decode(errors="replace") for part in popped
            )
            queue = key.removeprefix(channel.global_keyprefix or "")
            refuse(unreadable(exc, shown(raw)), queue.rsplit(channel.sep, 1)[0])
            return True
        finally:
            # A large message must not be kept until the next one comes.
            popped = None

    client.set_response_callback(_POP, parse_and_keep)
    handlers[_POP] = read_or_refuse


def _guarded(
    hear: Callable[[], Any],
    passed: tuple[type[BaseException], ...],
    refuse: Callable[[Refused, str], None],
) -> Callable[[], Any]:
    """Guard broadcasts that are too deep to read as JSON."""

    def hear_or_refuse() -> Any:
        try:
            return hear()
        except passed:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever was sent
            refuse(unreadable(exc, "a broadcast"), "remote control")
            return True

    return hear_or_refuse


def unreadable(exc: Exception, raw: str) -> Refused:
    """Return the refusal of an unreadable message; its reason shows `raw`."""
    reason = (
        f"its envelope cannot be read ({type(exc).__name__}: {line(exc)}); "
        f"it is gone from the queue: {raw}"
    )
    return Refused(reason, None)
