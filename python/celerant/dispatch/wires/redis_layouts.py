"""The layout of a message in kombu's Redis transport: common text, with slots."""

from __future__ import annotations

import re
from typing import Any

from kombu.utils.json import dumps

from celerant._core import Layout
from celerant.dispatch.envelope import OWN, SLOTS, Blueprint
from celerant.dispatch.wires.base import Broken, unfit

__all__ = ["RedisLayouts"]

_SLOT = re.compile(
    '"({bare})"|({id}|{argsrepr}|{kwargsrepr}|{body}|{tag})'.format(
        bare="|".join(SLOTS[name] for name in ("group_index", *OWN)), **SLOTS
    )
)
_NAMES = {text: name for name, text in SLOTS.items()}


class RedisLayouts:
    """Renders messages as a channel of kombu's would.

    Args:
        channel: kombu's own, exactly.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._prefix = channel.global_keyprefix

    def layout_of(self, blueprint: Blueprint, queue: str) -> Layout:
        """Render a message for a queue.

        Raises:
            EncodeError: A header or property that no message can carry.
        """
        properties = dict(blueprint.properties, delivery_mode=blueprint.delivery_mode)
        body = blueprint.body
        message = self._channel.prepare_message(
            SLOTS["body"],
            blueprint.priority,
            body.content_type,
            body.content_encoding,
            blueprint.headers,
            properties,
        )
        message["properties"].update(body_encoding="base64", delivery_tag=SLOTS["tag"])
        message["properties"]["delivery_info"].update(
            exchange=blueprint.exchange, routing_key=blueprint.routing_key
        )
        # Before 5.7 kombu's queues on Redis did not expire.
        expire: int = getattr(self._channel, "_expires", {}).get(queue, 0)
        steps = self._channel.priority_steps if expire else ()
        priority = self._channel._get_message_priority(message, reverse=False)  # noqa: SLF001 - kombu's own step
        try:
            text = dumps(message)
        except Exception as exc:
            raise unfit(exc) from exc
        return Layout.redis(
            _cut(text),
            key=self.key_of(queue, priority),
            expire=[(self.key_of(queue, step), expire) for step in steps],
        )

    def queue_of(self, blueprint: Blueprint) -> str | None:
        """Return the queue that the message goes to, if it is only one."""
        if not blueprint.exchange:
            return blueprint.routing_key
        if self._channel.typeof(blueprint.exchange).type != "direct":
            return None
        queues = list(self._channel._lookup(blueprint.exchange, blueprint.routing_key))  # noqa: SLF001 - kombu's own table
        if not queues and blueprint.mandatory is not False:
            # kombu would drop the message silently.
            message = (
                f"redis: no queue is bound to exchange {blueprint.exchange!r} under "
                f"routing key {blueprint.routing_key!r}"
            )
            raise Broken(message, recoverable=False)
        return queues[0] if len(queues) == 1 else None

    def key_of(self, queue: str, priority: int) -> bytes:
        """Return the list that holds a queue's messages of a priority."""
        key: str = self._channel._q_for_pri(queue, priority)  # noqa: SLF001 - kombu's own key
        return f"{self._prefix}{key}".encode()


def _cut(text: str) -> list[str | tuple[str]]:
    """Cut rendered JSON at its slots: constant text, and slot names as 1-tuples."""
    parts: list[str | tuple[str]] = []
    at = 0
    for found in _SLOT.finditer(text):
        parts += [text[at : found.start()], (_NAMES[found[1] or found[2]],)]
        at = found.end()
    parts.append(text[at:])
    return parts
