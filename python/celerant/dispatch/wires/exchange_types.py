"""The types of RabbitMQ's exchanges.

An exchange of one of AMQP's four types routes a message at once; a message that comes
back as unroutable is lost. An exchange of a plugin's type may keep it for later
(``x-delayed-message``) and still give it back as unroutable.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from amqp.exceptions import AMQPError, NotFound, RecoverableConnectionError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ExchangeTypes"]

_ROUTING = frozenset({"direct", "fanout", "headers", "topic"})
#: Every virtual host has some, named `amq.` and their type; `amq.match` is another.
_PREDEFINED = frozenset(f"amq.{told}" for told in (*_ROUTING, "match"))


class ExchangeTypes:
    """The known exchanges of one broker."""

    def __init__(self) -> None:
        #: Name -> whether it routes at once.
        self._known: dict[str, bool] = {"": True} | dict.fromkeys(_PREDEFINED, True)

    def routes_at_once(
        self, exchange: str, entities: Iterable[Any], connection: Any
    ) -> bool:
        """Whether a message that finds no queue now is lost.

        Args:
            exchange: Its name.
            entities: kombu's queues and exchanges that the message brings along.
            connection: py-amqp's; asked once about an exchange that nobody has declared
                here.
        Raises:
            OSError, RecoverableConnectionError: The connection is lost, and nothing is
            known.
        """
        known = self._known.get(exchange)
        if known is None:
            told = _declared(exchange, entities) or _asked(exchange, connection)
            known = self._known[exchange] = told is None or told in _ROUTING
        return known


def _declared(exchange: str, entities: Iterable[Any]) -> str | None:
    for entity in entities:
        found = getattr(entity, "exchange", entity)
        if getattr(found, "name", None) == exchange:
            return str(found.type)
    return None


def _asked(exchange: str, connection: Any) -> str | None:
    """Ask the broker for an exchange's type; None if it does not tell.

    AMQP has no question for it. But a declaration with another type is refused, the
    answer names the right type, and nothing changes.
    """
    channel = None
    try:
        channel = connection.channel()
        channel.exchange_declare(exchange, "direct", passive=True)
        # Without this, an exchange would be made if there is none.
        channel.exchange_declare(exchange, "direct", durable=True, auto_delete=False)
    except NotFound:
        # The broker answers the message itself like that.
        return None
    except (OSError, RecoverableConnectionError):
        raise
    except AMQPError as exc:
        found = re.search(r"'type'.*current is '+([^']+)'", str(exc))
        return found[1] if found else None
    finally:
        if channel is not None and channel.is_open:
            with suppress(AMQPError, OSError):
                channel.close()
    return "direct"
