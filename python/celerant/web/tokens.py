"""Tokens that let their holder see the progress of one group, and nothing else.

A handle lets its holder read results and revoke tasks. A token does not hold the
handle: it is the signed name under which the result store keeps it, and the site shows
only counts for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant.common.extras import extra
from celerant.errors import HandleError
from celerant.results.parked import park, parked

if TYPE_CHECKING:
    from celerant.results.backends.base import Backend
    from celerant.results.group_result import GroupResult

__all__ = ["read", "sign"]

_SALT = "celerant-progress"
#: Seconds that a token is good for.
_AGE = 86400


def _serializer(secret: str) -> Any:
    dangerous = extra("itsdangerous", of="web", needed_by="celerant.web")
    return dangerous.URLSafeTimedSerializer(secret, salt=_SALT)


def sign(result: GroupResult[Any], secret: str) -> str:
    """Return a token for ``<celerant-progress src="/celerant/progress/TOKEN">``.

    The store keeps what it stands for as long as the results.

    Args:
        result: A group's result, on a store that is shared with the site's process;
            on ``memory://`` it is this one.
        secret: The site's.

    Raises:
        CelerantError: The store keeps nothing beside results, or is not reached; or
            the group is still being sent.
    """
    token: str = _serializer(secret).dumps(park(result))
    return token


def read(
    token: str, secret: str, backend: Backend, max_age: float = _AGE
) -> GroupResult[Any]:
    """Return the result of the group that a token stands for.

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
    return parked(name, backend)
