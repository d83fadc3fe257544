"""Where results are stored, by the URL's scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu.utils.url import maybe_sanitize_url

from celerant.errors import SettingError

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend

__all__ = ["open_backend"]

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
