"""Settings under Celery's lower-case names.

Source of names and defaults: ``celery.app.defaults`` of celery 5.7.0.
"""

from __future__ import annotations

import difflib
import functools
import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from kombu.transport import TRANSPORT_ALIASES

from celerant.errors import SettingError

__all__ = [
    "DEFAULTS",
    "HANDED_OVER",
    "Settings",
    "nearest",
    "suggestion",
    "unknown_setting",
]

#: What Celerant itself reads, with Celery's defaults.
DEFAULTS: dict[str, Any] = {
    "accept_content": ("json",),
    "broker_connection_max_retries": 100,
    "broker_connection_retry": True,
    "broker_connection_timeout": 4,
    "broker_failover_strategy": None,
    "broker_heartbeat": 120,
    "broker_login_method": None,
    "broker_pool_limit": 10,
    "broker_read_url": None,
    "broker_transport_options": {},
    "broker_url": None,
    "broker_use_ssl": False,
    "broker_write_url": None,
    # Celerant's own.
    "celerant_message_depth_limit": 1000,
    "celerant_message_size_limit": 128 << 20,
    "celerant_result_memory_limit": 512 << 20,
    "celerant_stall_timeout": 30.0,
    "enable_utc": True,
    "imports": (),
    "include": (),
    "redis_backend_use_ssl": None,
    "redis_max_connections": None,
    "redis_retry_on_timeout": False,
    "redis_socket_connect_timeout": None,
    "redis_socket_keepalive": False,
    "redis_socket_timeout": 120.0,
    "result_accept_content": None,
    "result_backend": None,
    "result_backend_transport_options": {},
    "result_compression": None,
    "result_expires": timedelta(days=1),
    "result_extended": False,
    "result_failure_expires": None,
    "result_persistent": None,
    "result_serializer": "json",
    "task_acks_late": False,
    "task_always_eager": False,
    "task_compression": None,
    "task_create_missing_queue_exchange_type": None,
    "task_create_missing_queue_type": "classic",
    "task_create_missing_queues": True,
    "task_default_delivery_mode": 2,
    "task_default_exchange": None,
    "task_default_exchange_type": "direct",
    "task_default_priority": None,
    "task_default_queue": "celery",
    "task_default_queue_type": "classic",
    "task_default_routing_key": None,
    "task_eager_propagates": False,
    "task_ignore_result": False,
    "task_inherit_parent_priority": False,
    "task_protocol": 2,
    "task_publish_retry": True,
    "task_publish_retry_policy": {
        "max_retries": 3,
        "interval_start": 0,
        "interval_max": 1,
        "interval_step": 0.2,
    },
    "task_queue_max_priority": None,
    "task_queues": None,
    "task_reject_on_worker_lost": None,
    "task_remote_tracebacks": False,
    "task_repr_maxlevels": 3,
    "task_routes": None,
    "task_send_sent_event": False,
    "task_serializer": "json",
    "task_soft_time_limit": None,
    "task_store_eager_result": False,
    "task_store_errors_even_if_ignored": False,
    "task_time_limit": None,
    "task_track_started": False,
    "timezone": None,
    "worker_concurrency": None,
    "worker_eta_task_limit": None,
    "worker_prefetch_multiplier": 4,
    "worker_send_task_events": False,
}

#: What Celery knows and Celerant only hands to ``to_celery()``.
HANDED_OVER: frozenset[str] = frozenset(
    """
    arangodb_backend_settings azureblockblob_base_path
    azureblockblob_connection_timeout azureblockblob_container_name
    azureblockblob_read_timeout azureblockblob_retry_increment_base
    azureblockblob_retry_initial_backoff_sec azureblockblob_retry_max_attempts
    beat_cron_starting_deadline beat_enable_remote_control beat_max_loop_interval
    beat_remote_control_max_tick_age beat_schedule beat_schedule_filename
    beat_scheduler beat_sync_every broker_channel_error_retry
    broker_connection_retry_on_startup broker_heartbeat_checkrate broker_host
    broker_native_delayed_delivery_queue_type broker_password
    broker_pool_acquire_timeout broker_port broker_transport broker_user
    broker_vhost cache_backend cache_backend_options cassandra_auth_kwargs
    cassandra_auth_provider cassandra_bundle_path cassandra_entry_ttl
    cassandra_keyspace cassandra_options cassandra_port
    cassandra_read_consistency cassandra_servers cassandra_table
    cassandra_write_consistency control_exchange control_queue_durable
    control_queue_exclusive control_queue_expires control_queue_ttl
    cosmosdbsql_collection_name cosmosdbsql_consistency_level
    cosmosdbsql_database_name cosmosdbsql_max_retry_attempts
    cosmosdbsql_max_retry_wait_time couchbase_backend_settings
    database_create_tables_at_setup database_engine_callback
    database_engine_options database_short_lived_sessions database_table_names
    database_table_schemas database_url elasticsearch_max_retries
    elasticsearch_retry_on_timeout elasticsearch_save_meta_as_text
    elasticsearch_timeout event_exchange event_queue_durable
    event_queue_exclusive event_queue_expires event_queue_prefix event_queue_ttl
    event_serializer gcs_base_path gcs_bucket gcs_project gcs_ttl
    mongodb_backend_settings redis_db redis_host redis_password redis_port
    redis_username result_backend_always_retry
    result_backend_base_sleep_between_retries_ms result_backend_max_retries
    result_backend_max_sleep_between_retries_ms result_cache_max
    result_chord_expires result_chord_join_timeout result_chord_retry_interval
    result_exchange result_exchange_type s3_access_key_id s3_base_path s3_bucket
    s3_endpoint_url s3_region s3_secret_access_key security_cert_store
    security_certificate security_digest security_key security_key_password
    task_acks_on_failure task_acks_on_failure_or_timeout task_acks_on_timeout
    task_allow_error_cb_on_chord_header task_annotations task_default_rate_limit
    task_retry_on_worker_lost
    worker_agent worker_autoscaler
    worker_cancel_long_running_tasks_on_connection_loss worker_consumer
    worker_deduplicate_successful_tasks worker_detect_quorum_queues worker_direct
    worker_disable_prefetch worker_disable_rate_limits
    worker_enable_prefetch_count_reduction worker_enable_remote_control
    worker_enable_soft_shutdown_on_idle worker_hijack_root_logger
    worker_log_color worker_log_datefmt worker_log_format worker_lost_wait
    worker_max_memory_per_child worker_max_tasks_per_child worker_pool
    worker_pool_putlocks worker_pool_restarts worker_pool_start_method
    worker_proc_alive_timeout worker_redirect_stdouts
    worker_redirect_stdouts_level
    worker_soft_shutdown_timeout worker_state_db worker_task_log_datefmt
    worker_task_log_format worker_timer worker_timer_precision
    """.split()
)

_KNOWN = frozenset(DEFAULTS) | HANDED_OVER
_BROKER_URLS = frozenset({"broker_read_url", "broker_url", "broker_write_url"})
_LIMITS = frozenset(
    {
        "celerant_message_depth_limit",
        "celerant_message_size_limit",
        "celerant_result_memory_limit",
        "worker_concurrency",
    }
)
_SHOWN_LENGTH = 60
#: Nobody means a longer one, and to compare it takes time.
_LONGEST_NAME = 200


def nearest(name: str, known: Iterator[str] | frozenset[str]) -> str | None:
    """Return the known name that looks most like `name`, or None."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


@functools.lru_cache(maxsize=64)
def suggestion(name: str, known: frozenset[str]) -> str:
    """Return in words the known name that may be meant; empty if none is near.

    It is kept: a worker may be sent the same unknown name ten thousand times.
    """
    near = nearest(name, known) if len(name) <= _LONGEST_NAME else None
    return "" if near is None else f" (did you mean {near!r}?)"


class Settings:
    """Settings by attribute or by key; what was not set has Celery's default.

    Raises:
        SettingError: A name that neither Celery nor Celerant knows, or a value
            that the setting cannot have.
    """

    # The values are plain attributes: sending one task looks at a dozen of them, and
    # `__getattr__`, which Python asks last, costs ten times as much as an attribute.
    __slots__ = ("__dict__", "_changed", "version")

    _changed: dict[str, Any]
    #: Counts the changes, so that what was derived from settings can tell its age.
    version: int

    def __init__(self, **defaults: Any) -> None:
        object.__setattr__(self, "version", 0)
        object.__setattr__(self, "_changed", {})
        self.__dict__.update(DEFAULTS, **defaults)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in HANDED_OVER:
            return None
        raise unknown_setting(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _KNOWN:
            raise unknown_setting(name)
        _check(name, value)
        self._changed[name] = self.__dict__[name] = value
        object.__setattr__(self, "version", self.version + 1)

    def __delattr__(self, name: str) -> None:
        msg = f"setting {name!r} cannot be deleted; set it to its default"
        raise AttributeError(msg)

    def __getitem__(self, name: str) -> Any:
        return self.__dict__[name] if name in self.__dict__ else self.__getattr__(name)

    __setitem__ = __setattr__

    def __contains__(self, name: object) -> bool:
        return name in _KNOWN

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(_KNOWN))

    def update(self, settings: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set many at once; nothing is set where one of them is wrong."""
        wanted = {**(settings or {}), **more}
        for name, value in wanted.items():
            if name not in _KNOWN:
                raise unknown_setting(name)
            _check(name, value)
        self._changed.update(wanted)
        self.__dict__.update(wanted)
        object.__setattr__(self, "version", self.version + 1)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the setting, or `default` where it has no value."""
        value = getattr(self, name)
        return default if value is None else value

    def changed(self) -> dict[str, Any]:
        """Return what was set, by name: what ``to_celery()`` hands over."""
        return dict(self._changed)

    def __repr__(self) -> str:
        # Values may hold passwords (URLs, credentials): names only.
        return f"<Settings: {', '.join(sorted(self._changed)) or 'defaults'}>"


def unknown_setting(name: str, *others: str) -> SettingError:
    """Return the error for a name that is no setting.

    Args:
        name: As given.
        others: Names that would be right there too.
    """
    known = _KNOWN.union(others)
    near = nearest(name, known)
    if near is None and name.isupper():
        near = nearest(name.lower(), known)
    hint = f"; did you mean {near!r}" if near else ""
    return SettingError(f"unknown setting {name!r}{hint}", name=name, nearest=near)


def _check(name: str, value: Any) -> None:
    if name == "task_protocol" and value != 2:  # noqa: PLR2004 - the protocol's number
        raise SettingError(
            f"task_protocol must be 2, not {value!r}: protocol 1 is not spoken here",
            name=name,
        )
    if name in _BROKER_URLS:
        _check_broker(name, value)
    if name in _LIMITS and value is not None:
        _positive_int(name, value)
    if name == "celerant_stall_timeout" and not _is_duration(value):
        raise SettingError(
            f"{name} must be a number of seconds above 0, not {_shown(value)}",
            name=name,
        )
    if name == "task_default_queue" and not (isinstance(value, str) and value):
        raise SettingError(
            f"{name} must be the name of a queue, not {_shown(value)}", name=name
        )


def _check_broker(name: str, urls: Any) -> None:
    """Refuse what kombu would meet at the first send, with a bare `KeyError`."""
    listed = [urls] if isinstance(urls, str) else urls or ()
    if not isinstance(listed, (list, tuple)) or not all(
        isinstance(url, str) for url in listed
    ):
        raise SettingError(
            f"{name} must be a URL or a list of URLs, not {type(urls).__name__}",
            name=name,
        )
    known = {alias.lower() for alias in TRANSPORT_ALIASES}
    for url in ";".join(listed).split(";"):
        before, has_scheme, _ = url.partition("://")
        # Of sqla+sqlite://. Without a scheme it is the host of an AMQP broker.
        transport = before.partition("+")[0].lower()
        if has_scheme and transport not in known:
            near = nearest(transport, frozenset(known))
            hint = f"; did you mean {near}://" if near else ""
            raise SettingError(
                f"{name}: kombu has no transport {transport!r}{hint}",
                name=name,
                nearest=near,
            )


def _is_duration(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 < value < threading.TIMEOUT_MAX


def _positive_int(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SettingError(
            f"{name} must be a positive whole number, not {_shown(value)}", name=name
        )


def _shown(value: Any) -> str:
    text = repr(value)
    if len(text) <= _SHOWN_LENGTH:
        return text
    return text[: _SHOWN_LENGTH - 3] + "..."
