"""Messages whose envelope not even kombu can read, as they come from Redis.

Anybody may push anything to a list. kombu decodes what it popped without a guard,
so that garbage would look like a lost broker.
"""

from __future__ import annotations

from queue import Empty
from typing import TYPE_CHECKING, Any

from celerant.worker.message import Refused, short

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["guard_envelopes"]

_POP = "BRPOP"


def guard_envelopes(
    channel: Any,
    lost: tuple[type[BaseException], ...],
    refuse: Callable[[Refused, str], None],
) -> None:
    """Have what `channel` pops and cannot read refused, in place of raised.

    Does nothing on channels of other transports than Redis: AMQP frames its
    messages itself, so that no envelope can be broken.

    Args:
        channel: Of kombu, before it consumes.
        lost: What says that the connection is lost; it is raised as before.
        refuse: Is told of the message and the name of its queue.
    """
    handlers = getattr(channel, "handlers", {})
    if _POP not in handlers:
        return
    # kombu counts KeyError as a lost connection; of a popped message it says that
    # the envelope lacks something.
    passed: tuple[type[BaseException], ...] = (
        *(error for error in lost if error is not KeyError),
        Empty,
    )
    read, client = handlers[_POP], channel.client
    parse = client.response_callbacks.get(_POP)
    popped: Any = None

    def parse_and_keep(response: Any, **options: Any) -> Any:
        nonlocal popped
        popped = response if parse is None else parse(response, **options)
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
            key, raw = (bytes(part).decode(errors="replace") for part in popped)
            queue = key.removeprefix(channel.global_keyprefix or "")
            msg = (
                f"its envelope cannot be read ({type(exc).__name__}: {short(exc)}); "
                f"it is gone from the queue: {short(raw)!r}"
            )
            refuse(Refused(msg, None), queue.rsplit(channel.sep, 1)[0])
            return True

    client.set_response_callback(_POP, parse_and_keep)
    handlers[_POP] = read_or_refuse
