"""Options with which a message is the same for the next task that is sent with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kombu.serialization import registry

__all__ = ["encoder_of", "lasting"]

#: Options that are the same in all messages of a task. Options that tell a time, name a
#: task, or may be changed in place are not among them.
_LASTING = frozenset(
    {
        "add_to_parent",
        "compression",
        "delivery_mode",
        "exchange",
        "ignore_result",
        "immediate",
        "mandatory",
        "priority",
        "queue",
        "retry",
        "routing_key",
        "serializer",
        "shadow",
        "soft_time_limit",
        "time_limit",
    }
)
_PLAIN = frozenset({str, int, float, bool, type(None)})
encoder_of = registry._encoders.get  # noqa: SLF001 - kombu has no public look at them


def lasting(options: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Return options as a key, types included; None if they may not last."""
    found: list[Any] = []
    for name, value in options.items():
        if name not in _LASTING or type(value) not in _PLAIN:
            return None
        found += name, type(value), value
    return tuple(found)
