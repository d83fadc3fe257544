"""Where results are stored, by the URL's scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu.utils.url import maybe_sanitize_url

from celerant.errors import SettingError

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend

__all__ = ["make_backend", "open_backend"]

_REDIS_SCHEMES = frozenset({"redis", "rediss", "redis+socket", "socket"})


def open_backend(url: str | None, *, name: str, **settings: Any) -> Backend:
    """Return the backend that `url` names; connects at the first use.

    Args:
        url: ``memory://``, ``redis://``, ``rediss://``, ``redis+socket://`` or
            ``socket://``, as Celery takes them; None or ``disabled://`` for none.
        name: The app's name: one in-process store each.
        settings: Keyword arguments of `Backend` and of the backend's own class.

    Raises:
        SettingError: Another scheme, or a setting that cannot be.
    """
    scheme = (url or "disabled").partition(":")[0].lower()
    if scheme in _REDIS_SCHEMES:
        from celerant.results.backends.redis import RedisBackend  # noqa: PLC0415 - redis-py is an extra

        return RedisBackend(url or "", **settings)
    for key in ("use_ssl", "connection"):
        settings.pop(key, None)
    if scheme in {"memory", "cache+memory"}:
        from celerant.results.backends.memory import MemoryBackend  # noqa: PLC0415 - one of several

        return MemoryBackend(url or "", name=name, **settings)
    if scheme in {"disabled", "none", ""}:
        from celerant.results.backends.disabled import DisabledBackend  # noqa: PLC0415 - one of several

        return DisabledBackend(url or "disabled://", **settings)
    msg = (
        f"result_backend {maybe_sanitize_url(url or '')!r} is not supported; "
        "use redis://, rediss:// or memory://"
    )
    raise SettingError(msg, name="result_backend")


def make_backend(url: str | None, name: str, conf: Any) -> Backend:
    """Return the backend that `url` names, with an app's settings.

    Args:
        url: As `open_backend`.
        name: The app's name.
        conf: Celery's settings as attributes.

    Raises:
        SettingError: As `open_backend`.
    """
    accept = conf.result_accept_content
    return open_backend(
        url,
        name=name,
        expires=conf.result_expires,
        failure_expires=conf.result_failure_expires,
        serializer=conf.result_serializer,
        accept=conf.accept_content if accept is None else accept,
        compression=conf.result_compression,
        extended=conf.result_extended,
        transport_options=conf.result_backend_transport_options,
        use_ssl=conf.redis_backend_use_ssl,
        connection={
            "max_connections": conf.redis_max_connections,
            "retry_on_timeout": conf.redis_retry_on_timeout or None,
            "socket_connect_timeout": conf.redis_socket_connect_timeout,
            "socket_keepalive": conf.redis_socket_keepalive or None,
            "socket_timeout": conf.redis_socket_timeout,
        },
    )
