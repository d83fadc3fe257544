"""Tokens that let their holder see the progress of one group, and nothing else.

A handle lets its holder read results and revoke tasks. A token does not hold the
handle: it is the signed name under which the result store keeps it, and the site shows
only counts for it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from celerant.common.extras import extra
from celerant.errors import HandleError

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend
    from celerant.results.group_result import GroupResult

__all__ = ["read", "sign"]

_SALT = "celerant-progress"
_ASIDE = "web-"
#: Seconds that a token is good for.
_AGE = 86400


def _serializer(secret: str) -> Any:
    dangerous = extra("itsdangerous", of="web", needed_by="celerant.web")
    return dangerous.URLSafeTimedSerializer(secret, salt=_SALT)


def sign(result: GroupResult[Any], secret: str) -> str:
    """Return a token for ``<celerant-progress src="/celerant/progress/TOKEN">``.

    The store keeps what it stands for as long as the results.

    Args:
        result: A group's result, on a store that is shared between processes.
        secret: The site's.

    Raises:
        CelerantError: The results live in this process alone.
    """
    name = secrets.token_urlsafe(12)
    result.backend.put_aside(f"{_ASIDE}{name}", result.handle.encode())
    token: str = _serializer(secret).dumps(name)
    return token


def read(token: str, secret: str, backend: Backend, max_age: float = _AGE) -> str:
    """Return the handle that a token stands for.

    Args:
        token: Of `sign`.
        secret: The same.
        backend: The same store.
        max_age: Seconds for which it is good.

    Raises:
        HandleError: It was made with another secret, was changed, or is too old; or
            the results have expired.
    """
    dangerous = extra("itsdangerous", of="web", needed_by="celerant.web")
    try:
        name = _serializer(secret).loads(token, max_age=max_age)
    except dangerous.SignatureExpired as exc:
        msg = f"the token is older than {max_age:g} s; make another one by sign()"
        raise HandleError(msg) from exc
    except dangerous.BadData as exc:
        msg = "the token was not made with this site's secret, or was changed"
        raise HandleError(msg) from exc
    handle = backend.take_aside(f"{_ASIDE}{name}")
    if handle is None:
        msg = "the results of this token's group have expired"
        raise HandleError(msg)
    return handle.decode()
