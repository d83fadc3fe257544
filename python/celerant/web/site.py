"""The site: an ASGI app of Starlette's."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from celerant.common.extras import extra
from celerant.errors import CelerantError, HandleError
from celerant.starlette import progress_events
from celerant.web.groups import told_of
from celerant.web.tokens import read

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from celerant.app import Celerant

__all__ = ["make_site"]

Allows = Callable[["Request"], bool]

#: Nothing of another site, nothing inline, and no frame around it. A handle is in the
#: address: no other site must get that as a referrer.
_HEADERS = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src "
    b"'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    b"frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"cache-control": b"no-store",
}
_HANDLE_MOST = 300


def make_site(
    app: Celerant,
    *,
    secret: str | None = None,
    may_see: Allows | None = None,
    may_change: Allows | None = None,
) -> Starlette:
    """Return the site of an app, to be served or mounted.

    Who has a group's handle sees the group. Nobody can change anything, unless
    `may_change` says so.

    Args:
        app: The app; its result store must be shared with the senders.
        secret: Of `celerant.web.sign`; None: no token is taken.
        may_see: Called with each request for a page: whether it may be answered.
            Tokens are for everybody. None: with any handle.
        may_change: The same for cancelling. None: nobody.

    Raises:
        CelerantError: A package of the extra ``web`` is not installed.
    """
    needed = "celerant.web"
    applications = extra("starlette.applications", of="web", needed_by=needed)
    routing = extra("starlette.routing", of="web", needed_by=needed)
    files = extra("starlette.staticfiles", of="web", needed_by=needed)
    middleware = extra("starlette.middleware", of="web", needed_by=needed)
    extra("itsdangerous", of="web", needed_by=needed)
    pages = _Pages(app, secret or secrets.token_hex(), may_see, may_change)
    site: Starlette = applications.Starlette(
        routes=[
            routing.Route("/", pages.home),
            routing.Route("/group", pages.group),
            routing.Route("/events", pages.events),
            routing.Route("/cancel", pages.cancel, methods=["POST"]),
            routing.Route("/progress/{token}", pages.progress),
            routing.Mount(
                "/static",
                files.StaticFiles(packages=[(__package__, "static")]),
                name="static",
            ),
        ],
        middleware=[middleware.Middleware(_Guarded)],
        exception_handlers={HandleError: pages.wrong, CelerantError: pages.failed},
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


class _Pages:
    """The pages; Starlette calls those that ask the store in threads."""

    def __init__(
        self,
        app: Celerant,
        secret: str,
        may_see: Allows | None,
        may_change: Allows | None,
    ) -> None:
        self._app = app
        self._secret = secret
        self._may_see = may_see or (lambda _request: True)
        self._may_change = may_change or (lambda _request: False)
        jinja = extra("jinja2", of="web", needed_by="celerant.web")
        templating = extra("starlette.templating", of="web", needed_by="celerant.web")
        environment = jinja.Environment(
            loader=jinja.PackageLoader(__package__), autoescape=True
        )
        self._templates: Any = templating.Jinja2Templates(env=environment)

    def home(self, request: Request) -> Response:
        """Ask for a handle."""
        self._check(self._may_see, request)
        return self._shown(request, "home.html", {})

    def group(self, request: Request) -> Response:
        """Show a group."""
        self._check(self._may_see, request)
        handle = _handle(request.query_params.get("handle"))
        told = told_of(self._app.attach(handle))
        context = {
            "group": told,
            "handle": handle,
            "may_change": self._may_change(request),
            "is_over": told.done == told.total,
        }
        return self._shown(request, "group.html", context)

    def events(self, request: Request) -> Response:
        """Tell a group's progress as it goes."""
        self._check(self._may_see, request)
        handle = _handle(request.query_params.get("handle"))
        return progress_events(self._app.attach(handle))

    def progress(self, request: Request) -> Response:
        """Tell the progress of the group of a token: counts, and nothing else."""
        token = request.path_params["token"]
        handle = read(token, self._secret, self._app.backend)
        return progress_events(self._app.attach(handle))

    async def cancel(self, request: Request) -> Response:
        """Cancel a group, and show it again."""
        concurrency = extra("starlette.concurrency", of="web", needed_by="celerant.web")
        responses = extra("starlette.responses", of="web", needed_by="celerant.web")
        if not _is_same_site(request):
            raise _refusal("the form is of another site")
        self._check(self._may_change, request)
        form = await request.form()
        handle = _handle(str(form.get("handle") or ""))

        def revoke() -> None:
            self._app.attach(handle).revoke()

        await concurrency.run_in_threadpool(revoke)
        url = request.url_for("group").include_query_params(handle=handle)
        response: Response = responses.RedirectResponse(url, status_code=303)
        return response

    def wrong(self, request: Request, exc: Exception) -> Response:
        """Tell that a handle or token is none of this site's."""
        return self._shown(request, "wrong.html", {"error": str(exc)}, 404)

    def failed(self, request: Request, exc: Exception) -> Response:
        """Tell that the store is away, for one."""
        return self._shown(request, "wrong.html", {"error": str(exc)}, 503)

    def _shown(
        self, request: Request, name: str, context: dict[str, Any], status: int = 200
    ) -> Response:
        context["app_name"] = self._app.name
        response: Response = self._templates.TemplateResponse(
            request, name, context, status_code=status
        )
        return response

    def _check(self, allows: Allows, request: Request) -> None:
        if not allows(request):
            raise _refusal("this is not allowed")


def _handle(text: str | None) -> str:
    handle = (text or "").strip()
    if not handle or len(handle) > _HANDLE_MOST:
        msg = "give the handle of a group: `result.handle`"
        raise HandleError(msg)
    return handle


def _refusal(detail: str) -> Exception:
    exceptions = extra("starlette.exceptions", of="web", needed_by="celerant.web")
    refusal: Exception = exceptions.HTTPException(403, detail)
    return refusal


def _is_same_site(request: Request) -> bool:
    """Whether a form was sent by a page of this site."""
    fetched = request.headers.get("sec-fetch-site")
    if fetched is not None:
        return fetched == "same-origin"
    # Browsers that don't tell that tell the origin of each POST.
    origin = request.headers.get("origin", "")
    return urlsplit(origin).netloc == request.headers.get("host")
