"""Make redis-py's connection arguments of a result backend's URL.

Source: ``celery.backends.redis.RedisBackend`` of celery 5.7.0. The same URLs mean the
same connections.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import redis
import redis.connection
from kombu.utils.imports import symbol_by_name
from kombu.utils.url import url_to_parts, urlparts

from celerant.common.tls import redis_options
from celerant.common.urls import check, masked, split
from celerant.errors import SettingError

__all__ = ["connection_params"]

_SSL_KEYS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
_CERT_REQS = {
    "CERT_REQUIRED": ssl.CERT_REQUIRED,
    "CERT_OPTIONAL": ssl.CERT_OPTIONAL,
    "CERT_NONE": ssl.CERT_NONE,
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}


def connection_params(
    url: str, *, use_ssl: Mapping[str, Any] | None, defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments and the class of redis-py's connections.

    Args:
        url: ``redis://``, ``rediss://``, ``redis+socket://`` or ``socket://``.
        use_ssl: ``redis_backend_use_ssl``.
        defaults: Arguments that the URL may override. Their database is used only if
            `url` is a bare name, ``redis``.

    Returns:
        The arguments, with the class under ``connection_class``.

    Raises:
        SettingError: The URL is impossible, or its TLS options do not fit its scheme.
    """
    database: Any = None
    if "://" not in url:
        database, url = defaults.get("db"), f"{url}://"
    parts = _parts(url)
    query = dict(parts.query)
    params = dict(defaults)
    params["connection_class"] = redis.Connection
    if use_ssl:
        given = use_ssl if isinstance(use_ssl, Mapping) else {}
        params.update(given, connection_class=redis.SSLConnection)
    named = {"username": parts.username, "password": parts.password}
    params.update({key: value for key, value in named.items() if value})
    database = query.pop("virtual_host", database)
    if parts.scheme in {"socket", "redis+socket"}:
        params["connection_class"] = redis.UnixDomainSocketConnection
        params["path"] = "/" + (parts.path or "")
        for key in ("socket_connect_timeout", "socket_keepalive", "host", "port"):
            params.pop(key, None)
    else:
        params["host"] = parts.hostname or params.get("host") or "localhost"
        params["port"] = parts.port or params.get("port") or 6379
        database = parts.path or database
    if parts.scheme == "redis" and any(key in query for key in _SSL_KEYS):
        msg = f"{masked(url)!r} has TLS options: the scheme is rediss://"
        raise SettingError(msg, name="result_backend")
    if parts.scheme == "rediss":
        params["connection_class"] = redis.SSLConnection
        given = {key: query.pop(key) for key in _SSL_KEYS if query.get(key)}
        params.update({key: unquote(value) for key, value in given.items()})
    params["db"] = _database(database, url)
    params.update(_from_query(query, url))
    _provide(params)
    if params["connection_class"] is redis.SSLConnection:
        if "ssl_cert_reqs" in params:
            params["ssl_cert_reqs"] = _cert_reqs(params["ssl_cert_reqs"], url)
        params = redis_options(params)
    return params


def _from_query(query: Mapping[str, str], url: str) -> dict[str, Any]:
    parsers = getattr(redis.connection, "URL_QUERY_ARGUMENT_PARSERS", {})
    found: dict[str, Any] = {}
    for key, value in query.items():
        try:
            found[key] = parsers[key](value) if key in parsers else value
        except ValueError:
            msg = f"{masked(url)!r} has a {key} in its query that cannot be read"
            raise SettingError(msg, name="result_backend") from None
    return found


def _parts(url: str) -> urlparts:
    if len(split(url)) > 1:
        msg = (
            f"{masked(url)!r} names several servers, and a result store is one; "
            "for a store that fails over use Sentinel, sentinel://..."
        )
        raise SettingError(msg, name="result_backend")
    check("result_backend", url)
    return url_to_parts(url)


def _database(value: Any, url: str) -> int:
    text = str(value or 0).strip("/")
    try:
        return int(text or 0)
    except ValueError:
        msg = (
            f"{masked(url)!r} names a database that is no number; "
            "a Redis database is a number, e.g. redis://localhost/0"
        )
        raise SettingError(msg, name="result_backend") from None


def _provide(params: dict[str, Any]) -> None:
    """Replace user and password by a credential provider, if one is set."""
    value = params.get("credential_provider")
    if value is None:
        return
    found = symbol_by_name(value) if isinstance(value, str) else value
    found = found() if isinstance(found, type) else found
    if not isinstance(found, redis.CredentialProvider):
        msg = (
            "redis_backend_credential_provider must be a redis.CredentialProvider, or "
            f"the path of a class of that kind, not {type(found).__name__}"
        )
        raise SettingError(msg, name="redis_backend_credential_provider")
    params["credential_provider"] = found
    # redis-py takes either a provider or a user with a password.
    for key in ("username", "password"):
        params.pop(key, None)


def _cert_reqs(value: Any, url: str) -> ssl.VerifyMode:
    if isinstance(value, ssl.VerifyMode):
        return value
    found = _CERT_REQS.get(str(value))
    if found is None:
        msg = (
            f"{masked(url)!r}: ssl_cert_reqs is "
            "CERT_REQUIRED, CERT_OPTIONAL or CERT_NONE"
        )
        raise SettingError(msg, name="result_backend")
    return found
