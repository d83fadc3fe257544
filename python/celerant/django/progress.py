"""A group's progress on the pages of a Django project.

`sign` makes a token for one group, and the view `progress` tells how far that group has
come to whoever has the token: as server-sent events, for ``<celerant-progress>``, or as
JSON. In the project's URLs::

    path("celerant/", include("celerant.django.urls"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.handlers.asgi import ASGIRequest
from django.core.signing import BadSignature, SignatureExpired, TimestampSigner
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.views.decorators.http import require_GET

from celerant.common.lately_used import LatelyUsed
from celerant.context.apps import current_app
from celerant.errors import CelerantError, HandleError, ResultExpired
from celerant.results.parked import park, parked
from celerant.ui.events import HEADERS, MEDIA_TYPE, Shared, event, events

if TYPE_CHECKING:
    from celerant.context.host import App
    from celerant.results.backends.base import Backend
    from celerant.results.group_result import GroupResult

__all__ = ["progress", "read", "sign"]

_SALT = "celerant.django.progress"
#: Seconds that a token is good for.
_AGE = 86400
#: Seconds between two events of one stream.
_INTERVAL = 0.25
#: Milliseconds until a browser asks again, if a server cannot hold streams open.
_RETRY_MS = 1000
#: Groups that are remembered between requests, and for how many seconds: a second look
#: costs less than the first.
_known: LatelyUsed[GroupResult[Any]] = LatelyUsed(200, 30.0)
#: Those that streams follow, which have all values and are not kept any longer.
_followed: Shared[GroupResult[Any]] = Shared()


def sign(result: GroupResult[Any]) -> str:
    """Return a token with which a page may tell the progress of one group.

    ``<celerant-progress src="{% url 'celerant:progress' token %}">``. It is signed by
    ``SECRET_KEY``, good for a day, and holds no handle: whoever has it sees how many
    members are done, and nothing else.

    Args:
        result: A group's result, on a store that is shared with the site's processes;
            on ``memory://`` it is this process alone.

    Raises:
        CelerantError: The store keeps nothing beside results, or is not reached; or
            the group is still being sent.
    """
    token: str = TimestampSigner(salt=_SALT).sign(park(result))
    return token


def read(token: str, app: App | None = None, max_age: float = _AGE) -> GroupResult[Any]:
    """Return the result of the group that a token stands for.

    Args:
        token: Of `sign`.
        app: The Celerant app; by default the one made last.
        max_age: Seconds for which it is good.

    Raises:
        HandleError: It was changed, or made with another ``SECRET_KEY``, or is too
            old; or the results have expired.
        CelerantError: The store is not reached.
    """
    name, backend = _parked(token, app, max_age)
    return _known.get((name, id(backend)), lambda: parked(name, backend))


def _parked(token: str, app: App | None, max_age: float) -> tuple[str, Backend]:
    """Return the name that a token stands for, and the store that knows it."""
    try:
        name: str = TimestampSigner(salt=_SALT).unsign(token, max_age=max_age)
    except SignatureExpired as exc:
        msg = f"the token is older than {max_age:g} s; make another one by sign()"
        raise HandleError(msg) from exc
    except BadSignature as exc:
        msg = "the token was not made with this site's SECRET_KEY, or was changed"
        raise HandleError(msg) from exc
    return name, (app or current_app()).backend


@require_GET  # type: ignore[untyped-decorator]  # Django ships no types
def progress(
    request: HttpRequest, token: str, app: App | None = None
) -> HttpResponseBase:
    """Tell how far the group of a token has come.

    A client that accepts ``text/event-stream`` gets events ``progress`` and, when all
    members are done, ``end``; any other gets JSON. Both tell ``id``, ``total``,
    ``done``, ``failed``, ``rate`` (members per second) and ``eta`` (seconds). Under
    ASGI a stream stays open and also tells ``counts`` by state. Under WSGI it would
    hold a thread for each browser: it ends after one event, and browsers ask again
    after a second.

    Args:
        request: A GET.
        token: Of `sign`.
        app: The Celerant app; by default the one made last.
    """
    try:
        is_stream = MEDIA_TYPE in request.headers.get("Accept", "")
        if is_stream and isinstance(request, ASGIRequest):
            result = _followed.one_of(parked(*_parked(token, app, _AGE)))
            told = events(result, _INTERVAL)
            return StreamingHttpResponse(told, content_type=MEDIA_TYPE, headers=HEADERS)
        seen, is_over = _looked(read(token, app))
    except (HandleError, ResultExpired) as exc:
        raise Http404(str(exc)) from exc
    except CelerantError as exc:
        return HttpResponse(str(exc), status=503, content_type="text/plain")
    if is_stream:
        name = "end" if is_over else "progress"
        return HttpResponse(
            event(name, seen, retry=_RETRY_MS), content_type=MEDIA_TYPE, headers=HEADERS
        )
    return JsonResponse({**seen, "ready": is_over}, headers=HEADERS)


def _looked(result: GroupResult[Any]) -> tuple[dict[str, Any], bool]:
    """Return what is told of a group by one look, and whether it is over.

    Raises:
        CelerantError: The store is not reached.
    """
    backend = result.backend
    try:
        seen = result.progress()
        while seen.margin and seen.done == seen.total:
            # A sample says that all are done: that is for all of them to say. Samples
            # say it too, and keep no values, for this result is remembered.
            seen = result.progress()
    except backend.connection_errors as exc:
        raise backend.failure_of(exc) from exc
    told = {
        "id": result.id,
        "total": seen.total,
        "done": seen.done,
        "failed": seen.failed + seen.revoked,
        "rate": seen.rate,
        "eta": seen.eta,
    }
    return told, seen.done == seen.total and not seen.margin
