"""The site: an ASGI app of Starlette's."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from celerant.common.extras import extra
from celerant.errors import CanvasError, CelerantError, HandleError, ResultExpired
from celerant.results.handle import NotAnnounced
from celerant.web.access import Access, Allows
from celerant.web.pages import Pages, SourceOf

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from celerant.app import Celerant

__all__ = ["make_site"]

#: Nothing of another site, nothing inline, and no frame around it. A handle is in the
#: address: no other site must get that as a referrer. This one gets it, or browsers
#: would hide from it where a form comes from (`Origin: null`).
_HEADERS = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src "
    b"'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    b"frame-ancestors 'none'",
    b"referrer-policy": b"same-origin",
    b"x-content-type-options": b"nosniff",
    b"cache-control": b"no-store",
}
#: The web component, where Django's static files are looked for too.
_COMPONENT = ("celerant.django", "static/celerant")


def make_site(  # noqa: PLR0913 - one for each thing that an owner decides
    app: Celerant,
    *,
    secret: str | None = None,
    may_see: Allows | None = None,
    may_change: Allows | None = None,
    may_list: Allows | None = None,
    source_of: SourceOf | None = None,
) -> Starlette:
    """Return the site of an app, to be served or mounted.

    Who has a group's handle sees the group. Nobody sees a list of groups unless
    `may_list` says so, and nobody can change anything unless `may_change` does.

    Args:
        app: The app; its result store must be shared with the senders.
        secret: Of `celerant.web.sign`; None: no token is taken.
        may_see: Called with each request for a page: whether it may be answered.
            Tokens are for everybody. None: with any handle. Like the other functions
            here, it may be a coroutine; others are called in threads.
        may_change: The same for cancelling, and for sending failed members once more.
            None: nobody.
        may_list: The same for the list of groups that the setting
            ``celerant_index_groups`` keeps, and for each group in it. None: nobody.
        source_of: Called with a group's result, to send failed members once more:
            returns all of its members as they were sent, or None. None: only groups
            whose list of members this process has sent and keeps.

    Raises:
        CelerantError: A package of the extra ``web`` is not installed.
    """
    needed = "celerant.web"
    applications = extra("starlette.applications", of="web", needed_by=needed)
    routing = extra("starlette.routing", of="web", needed_by=needed)
    files = extra("starlette.staticfiles", of="web", needed_by=needed)
    middleware = extra("starlette.middleware", of="web", needed_by=needed)
    extra("itsdangerous", of="web", needed_by=needed)
    access = Access.of(may_see, may_change, may_list)
    pages = Pages(app, secret or secrets.token_hex(), access, source_of)
    site: Starlette = applications.Starlette(
        routes=[
            routing.Route("/", pages.home),
            routing.Route("/groups/events", pages.list_events),
            routing.Route("/group", pages.group),
            routing.Route("/events", pages.events),
            routing.Route("/cancel", pages.cancel, methods=["POST"]),
            routing.Route("/retry", pages.retry, methods=["POST"]),
            routing.Route("/progress/{token}", pages.progress),
            routing.Mount(
                "/static",
                files.StaticFiles(packages=[(__package__, "static"), _COMPONENT]),
                name="static",
            ),
        ],
        middleware=[middleware.Middleware(_Guarded)],
        exception_handlers={
            HandleError: pages.wrong,
            ResultExpired: pages.wrong,
            NotAnnounced: pages.wrong,
            CanvasError: pages.refused,
            CelerantError: pages.failed,
        },
    )
    return site


class _Guarded:
    """Adds the headers of `_HEADERS` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", [])
                names = {name.lower() for name, _ in given}
                more = [one for one in _HEADERS.items() if one[0] not in names]
                message = {**message, "headers": [*given, *more]}
            await send(message)

        await self._app(scope, receive, guarded)
