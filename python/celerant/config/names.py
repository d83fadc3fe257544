"""The names of settings: present ones, old ones, and the one nearest to a wrong name.

Source of the old names: ``celery.app.defaults`` of celery 5.7.0.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache, lru_cache

from celerant.config.table import SETTINGS
from celerant.errors import SettingError

__all__ = [
    "UnknownSettingError",
    "canonical",
    "nearest",
    "suggestion",
    "unknown_setting",
]

#: No name is longer, and comparing takes time.
_LONGEST_NAME = 200

#: Prefixes of old names, by those of new ones; others differ in capitals only.
_OLD_PREFIXES = {
    "arangodb_": "CELERY_ARANGODB_",
    "beat_": "CELERYBEAT_",
    "cache_": "CELERY_CACHE_",
    "couchbase_": "CELERY_COUCHBASE_",
    "elasticsearch_": "CELERY_ELASTICSEARCH_",
    "event_": "CELERY_EVENT_",
    "mongodb_": "CELERY_MONGODB_",
    "redis_": "CELERY_REDIS_",
    "result_": "CELERY_RESULT_",
    "security_": "CELERY_SECURITY_",
    "task_": "CELERY_",
    "worker_": "CELERYD_",
}
_OLD_NAMES = {
    "accept_content": "CELERY_ACCEPT_CONTENT",
    "database_engine_options": "CELERY_RESULT_ENGINE_OPTIONS",
    "database_short_lived_sessions": "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS",
    "database_table_names": "CELERY_RESULT_DB_TABLENAMES",
    "database_url": "CELERY_RESULT_DBURI",
    "imports": "CELERY_IMPORTS",
    "include": "CELERY_INCLUDE",
    "result_cache_max": "CELERY_MAX_CACHED_RESULTS",
    "result_expires": "CELERY_TASK_RESULT_EXPIRES",
    "result_accept_content": "RESULT_ACCEPT_CONTENT",
    "task_compression": "CELERY_MESSAGE_COMPRESSION",
    "task_eager_propagates": "CELERY_EAGER_PROPAGATES_EXCEPTIONS",
    "task_protocol": "CELERY_TASK_PROTOCOL",
    "task_publish_retry": "CELERY_TASK_PUBLISH_RETRY",
    "task_publish_retry_policy": "CELERY_TASK_PUBLISH_RETRY_POLICY",
    "task_send_sent_event": "CELERY_SEND_TASK_SENT_EVENT",
    "task_serializer": "CELERY_TASK_SERIALIZER",
    "task_soft_time_limit": "CELERYD_TASK_SOFT_TIME_LIMIT",
    "task_time_limit": "CELERYD_TASK_TIME_LIMIT",
    "timezone": "CELERY_TIMEZONE",
    "worker_direct": "CELERY_WORKER_DIRECT",
    "worker_disable_rate_limits": "CELERY_DISABLE_RATE_LIMITS",
    "worker_enable_remote_control": "CELERY_ENABLE_REMOTE_CONTROL",
    "worker_lost_wait": "CELERYD_WORKER_LOST_WAIT",
    "worker_redirect_stdouts": "CELERY_REDIRECT_STDOUTS",
    "worker_redirect_stdouts_level": "CELERY_REDIRECT_STDOUTS_LEVEL",
    "worker_send_task_events": "CELERY_SEND_EVENTS",
}


class UnknownSettingError(SettingError, AttributeError, KeyError):  # type: ignore[misc]  # `name` is ours
    """No setting has this name; one error for attributes, keys and arguments."""

    __str__ = Exception.__str__  # not a key's, which quotes it


@cache
def _by_old_name() -> dict[str, str]:
    found = {}
    for name, setting in SETTINGS.items():
        if setting.is_own:
            continue
        old = _OLD_NAMES.get(name)
        if old is None:
            start = name.partition("_")[0] + "_"
            prefix = _OLD_PREFIXES.get(start)
            rest = name.removeprefix(start).upper()
            old = prefix + rest if prefix else name.upper()
        found[old] = name
    return found


def canonical(name: str) -> str | None:
    """Return the setting with that name, which may be Celery's old one, or None."""
    return name if name in SETTINGS else _by_old_name().get(name)


def nearest(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the known name that looks most like `name`, or None."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=likeness)
    return matches[0] if matches else None


@lru_cache(maxsize=64)
def suggestion(name: str, known: frozenset[str]) -> str:
    """Return in words the known name that may be meant; empty if none is near.

    The answer is kept: a worker may be sent the same unknown name ten thousand times.
    """
    near = nearest(name, known) if len(name) <= _LONGEST_NAME else None
    return "" if near is None else f" (did you mean {near!r}?)"


def unknown_setting(name: str, *others: str) -> SettingError:
    """Return the error for a name that is no setting.

    Args:
        name: As given.
        others: Other names that would be right there.
    """
    known = (*SETTINGS, *others)
    near = nearest(name, known)
    if near is None and name.isupper():
        near = nearest(name.lower(), known)
    hint = f"; did you mean {near!r}" if near else ""
    return UnknownSettingError(
        f"unknown setting {name!r}{hint}", name=name, nearest=near
    )
