"""The options of a send: which there are, and how they take precedence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kombu import Exchange, Queue

from celerant.canvas.options import SendOptions
from celerant.config import nearest
from celerant.errors import SettingError

__all__ = ["MESSAGE_PROPERTIES", "SEND_OPTIONS", "check_options"]

#: AMQP basic properties that a caller may set beside Celery's own options.
MESSAGE_PROPERTIES = frozenset(
    {
        "app_id",
        "cluster_id",
        "correlation_id",
        "message_id",
        "timestamp",
        "type",
        "user_id",
    }
)

#: Every option that there is, by name.
SEND_OPTIONS = frozenset(SendOptions.__annotations__)


#: Options whose type is checked, for a wrong one would fail far from its cause.
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "compression": ((str,), "text"),
    "countdown": ((int, float), "a number of seconds"),
    "exchange": ((str, Exchange), "a name or a kombu.Exchange"),
    "headers": ((Mapping,), "a mapping"),
    "priority": ((int,), "a whole number"),
    "queue": ((str, Queue), "a name or a kombu.Queue"),
    "retry_policy": ((Mapping,), "a mapping"),
    "routing_key": ((str,), "text"),
    "serializer": ((str,), "text"),
    "shadow": ((str,), "text"),
    "soft_time_limit": ((int, float), "a number of seconds"),
    "task_id": ((str,), "text"),
    "time_limit": ((int, float), "a number of seconds"),
}


def check_options(options: Mapping[str, Any], path: str = "", whose: str = "") -> None:
    """Refuse option names that nobody reads, and values that nobody can use.

    Args:
        options: As given.
        path: What the options belong to; empty where the caller adds it to the error.
        whose: The same for people, by default `path`.
    Raises:
        SettingError: With the nearest known name.
    """
    if not options:
        return
    prefix = f"{whose or path}: " if path else ""
    stamps: Iterable[str] = options.get("stamped_headers") or ()
    for name in options:
        if name in SEND_OPTIONS or name in stamps:
            continue
        near = nearest(name, SEND_OPTIONS)
        hint = f"; did you mean {near!r}" if near else ""
        msg = f"{prefix}unknown option {name!r}{hint}"
        raise SettingError(msg, name=name, nearest=near, path=path)
    for name, (kinds, wanted) in _KINDS.items():
        value = options.get(name)
        if value is not None and not isinstance(value, kinds):
            msg = f"{prefix}{name} must be {wanted}, not {type(value).__name__}"
            raise SettingError(msg, name=name, path=path)
    for name in ("link", "link_error"):
        value = options.get(name)
        for one in value if isinstance(value, (list, tuple, set)) else (value,):
            if not (value is None or isinstance(one, dict)):
                msg = (
                    f"{prefix}{name} must be a signature or a list of them, not "
                    f"{type(one).__name__}; use task.s(...)"
                )
                raise SettingError(msg, name=name, path=path)
    hard, soft = options.get("time_limit"), options.get("soft_time_limit")
    if hard is not None and soft is not None and soft > hard:
        msg = f"{prefix}soft_time_limit {soft} s is over time_limit {hard} s"
        raise SettingError(msg, name="soft_time_limit", path=path)
