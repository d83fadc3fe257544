"""A broker's URL from its parts, and the checks of a URL.

Source: ``Celery._connection`` of celery 5.7.0 and ``kombu.Connection``: the settings of
the parts fill in a URL that leaves them out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from kombu.transport import TRANSPORT_ALIASES

from celerant.config.names import nearest
from celerant.errors import SettingError

__all__ = ["PARTS", "check_transport", "check_urls", "completed", "composed"]

#: Settings that are parts of a URL.
PARTS = (
    "broker_transport",
    "broker_host",
    "broker_port",
    "broker_user",
    "broker_password",
    "broker_vhost",
)
_URL = re.compile(
    r"(?P<scheme>[^:/]+)://(?:(?P<user>[^/?#]*)@)?(?P<host>[^/?#]*)"
    r"(?P<path>[^?#]*)(?P<rest>.*)",
    re.DOTALL,
)
_SCHEME = re.compile(r"[\w+.-]+")
_HAS_PORT = re.compile(r":\d+$")


def composed(parts: Mapping[str, Any]) -> str | None:
    """Return the URL of a broker from its parts; None if no part is set."""
    if not any(parts.values()):
        return None
    host = parts["broker_host"] or ""
    if "://" not in host:
        host = f"{parts['broker_transport'] or 'amqp'}://{host}"
    url: str = completed(host, parts)
    return url


def completed(urls: Any, parts: Mapping[str, Any]) -> Any:
    """Return URLs in which the parts fill in missing ones."""
    if not urls or not any(parts.values()):
        return urls
    if not isinstance(urls, str):
        return type(urls)(completed(url, parts) for url in urls)
    return ";".join(_completed(url, parts) for url in urls.split(";"))


def _completed(url: str, parts: Mapping[str, Any]) -> str:
    if "://" not in url:
        url = f"{parts['broker_transport'] or 'amqp'}://{url}"
    found = _URL.fullmatch(url)
    # The rest of sqla+sqlite:// and the like is no address, and has no such parts.
    if found is None or "+" in found["scheme"]:
        return url
    host = found["host"] or quote(parts["broker_host"] or "", safe="[]:")
    if parts["broker_port"] and not _HAS_PORT.search(host):
        host = f"{host}:{parts['broker_port']}"
    user, has_password, password = (found["user"] or "").partition(":")
    user = user or quote(parts["broker_user"] or "", safe="")
    if not has_password:
        password = quote(parts["broker_password"] or "", safe="")
    secret = f":{password}" if password else ""
    who = f"{user}{secret}@" if user or secret else ""
    path = found["path"]
    if path in {"", "/"} and parts["broker_vhost"]:
        path = f"/{quote(str(parts['broker_vhost']), safe='')}"
    return f"{found['scheme']}://{who}{host}{path}{found['rest']}"


def check_urls(name: str, urls: Any) -> None:
    """Refuse transports that kombu would answer at the first send by a `KeyError`.

    Raises:
        SettingError: A scheme that is no transport of kombu's.
    """
    listed = [urls] if isinstance(urls, str) else urls or ()
    for url in ";".join(listed).split(";"):
        before, has_scheme, _ = url.partition("://")
        # The `+` is that of sqla+sqlite://. Text without a scheme is the host of an
        # AMQP broker. Other text may be a password: connecting refuses it, and shows
        # none of it.
        if has_scheme and _SCHEME.fullmatch(before):
            check_transport(name, before.partition("+")[0], "://")


def check_transport(name: str, transport: str, after: str = "") -> None:
    """Refuse the name of a transport that kombu does not have.

    Raises:
        SettingError: As `check_urls`.
    """
    transport = transport.lower()
    known = {alias.lower() for alias in TRANSPORT_ALIASES}
    # One with a dot is the path of a class.
    if transport in known or "." in transport:
        return
    near = nearest(transport, known)
    hint = f"; did you mean {near}{after}" if near else ""
    raise SettingError(
        f"{name}: kombu has no transport {transport!r}{hint}", name=name, nearest=near
    )
