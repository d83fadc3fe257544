"""Choose the store of results by the URL's scheme."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from celerant.common.extras import need_redis
from celerant.common.limits import Limits
from celerant.common.urls import masked, scheme
from celerant.errors import SettingError

if TYPE_CHECKING:
    from kombu import Connection

    from celerant.results.backends.base import Backend

__all__ = ["make_backend", "open_backend"]

_REDIS_SCHEMES = frozenset({"redis", "rediss", "redis+socket", "socket"})


def open_backend(
    url: str | None,
    *,
    name: str,
    connect: Callable[[], Connection] | None = None,
    replies: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Backend:
    """Return the backend that `url` names; it connects at its first use.

    Args:
        url: ``memory://``, ``redis://``, ``rediss://``, ``redis+socket://``,
            ``socket://`` or ``sentinel://``, as Celery takes them; ``rpc://`` for
            messages over the broker; None or ``disabled://`` for no results.
        name: The app's name; each name has one in-process store.
        connect: Makes a connection to the broker, for ``rpc://``.
        replies: `RpcBackend`'s own keyword arguments.
        settings: Keyword arguments of `Backend` and of the backend's own class.

    Raises:
        SettingError: The scheme is not supported, or a setting is impossible.
        CelerantError: redis-py is not installed.
    """
    kind = scheme(url or "disabled")
    need_redis(url)
    memory_limit = settings.pop("memory_limit", None)
    if kind in _REDIS_SCHEMES:
        from celerant.results.backends.redis import RedisBackend  # noqa: PLC0415 - redis-py is an extra

        return RedisBackend(url or "", name=name, **settings)
    if kind == "sentinel":
        from celerant.results.backends.sentinel import SentinelBackend  # noqa: PLC0415 - redis-py is an extra

        return SentinelBackend(url or "", name=name, **settings)
    for key in ("use_ssl", "connection"):
        settings.pop(key, None)
    if kind == "rpc" and connect is not None:
        from celerant.results.backends.rpc import RpcBackend  # noqa: PLC0415 - one of several

        return RpcBackend(url or "", connect=connect, **(replies or {}), **settings)
    if kind in {"memory", "cache+memory"}:
        from celerant.results.backends.memory import MemoryBackend  # noqa: PLC0415 - one of several

        return MemoryBackend(url or "", name=name, limit=memory_limit, **settings)
    if kind in {"disabled", "none", ""}:
        from celerant.results.backends.disabled import DisabledBackend  # noqa: PLC0415 - one of several

        return DisabledBackend(url or "disabled://", **settings)
    msg = (
        f"result_backend {masked(url or '')!r} is not supported; "
        "use redis://, rediss://, sentinel://, rpc:// or memory://"
    )
    raise SettingError(msg, name="result_backend")


def make_backend(
    url: str | None,
    name: str,
    conf: Any,
    connect: Callable[[], Connection] | None = None,
    reach: Mapping[str, Any] | None = None,
) -> Backend:
    """Return the backend that `url` names, with an app's settings.

    Args:
        url: As for `open_backend`.
        name: The app's name.
        conf: Celery's settings as attributes.
        connect: As for `open_backend`.
        reach: ``result_backend_transport_options`` and ``redis_backend_use_ssl`` in
            place of those of `conf`.

    Raises:
        SettingError: As for `open_backend`.
    """
    reach = reach or {}
    if scheme(url) in (conf.override_backends or ()):
        msg = (
            f"override_backends names a class of Celery's for {masked(url)!r}, which "
            "is not used here; take it out, or ask for results by app.to_celery()"
        )
        raise SettingError(msg, name="override_backends")
    accept = conf.result_accept_content
    return open_backend(
        url,
        name=name,
        connect=connect,
        replies={
            "persistent": conf.result_persistent,
            "retry_policy": conf.task_publish_retry_policy,
        },
        expires=conf.result_expires,
        failure_expires=conf.result_failure_expires,
        chord_expires=conf.result_chord_expires,
        join_timeout=conf.result_chord_join_timeout,
        memory_limit=conf.celerant_result_memory_limit,
        limits=Limits(
            conf.celerant_message_size_limit, conf.celerant_message_depth_limit
        ),
        serializer=conf.result_serializer,
        accept=conf.accept_content if accept is None else accept,
        compression=conf.result_compression,
        extended=conf.result_extended,
        transport_options=reach.get(
            "result_backend_transport_options", conf.result_backend_transport_options
        ),
        use_ssl=reach.get("redis_backend_use_ssl", conf.redis_backend_use_ssl),
        connection={
            "client_name": conf.redis_client_name,
            "credential_provider": conf.redis_backend_credential_provider or None,
            "db": conf.redis_db,
            "health_check_interval": conf.redis_backend_health_check_interval,
            "host": conf.redis_host,
            "password": conf.redis_password,
            "port": conf.redis_port,
            "username": conf.redis_username,
            "max_connections": conf.redis_max_connections,
            "retry_on_timeout": conf.redis_retry_on_timeout or None,
            "socket_connect_timeout": conf.redis_socket_connect_timeout,
            "socket_keepalive": conf.redis_socket_keepalive or None,
            # Without a setting, only the stall timeout limits it.
            "socket_timeout": min(
                conf.redis_socket_timeout or conf.celerant_stall_timeout,
                conf.celerant_stall_timeout,
            ),
        },
    )
