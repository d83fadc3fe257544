"""The pages of the site, as handlers of Starlette's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from celerant.common.extras import extra
from celerant.errors import HandleError
from celerant.results.indexed import entry_of, live, result_of
from celerant.starlette import progress_events
from celerant.ui.events import HEADERS, MEDIA_TYPE
from celerant.web.access import Access, Address
from celerant.web.groups import told_of
from celerant.web.listing import Listing, page_events
from celerant.web.tokens import read

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from celerant.app import Celerant
    from celerant.results.group_result import GroupResult

__all__ = ["Pages", "SourceOf"]

#: Returns the members of a group as they were sent, or None.
SourceOf = Callable[["GroupResult[Any]"], "Iterable[Any] | None"]

#: Seconds between two looks at the list.
_LIST_INTERVAL = 2.0


class Pages:
    """The pages; Starlette calls those that ask the store in threads.

    Args:
        app: The app.
        secret: Of the tokens.
        access: Who may do what.
        source_of: Knows the members of a group; None: only this process may.
    """

    def __init__(
        self,
        app: Celerant,
        secret: str,
        access: Access,
        source_of: SourceOf | None,
    ) -> None:
        self._app = app
        self._secret = secret
        self._access = access
        self._source_of = source_of
        self._listing = Listing(app)
        jinja = extra("jinja2", of="web", needed_by="celerant.web")
        templating = extra("starlette.templating", of="web", needed_by="celerant.web")
        environment = jinja.Environment(
            loader=jinja.PackageLoader(__package__), autoescape=True
        )
        self._templates: Any = templating.Jinja2Templates(env=environment)

    # -- the list ------------------------------------------------------------------

    def home(self, request: Request) -> Response:
        """List the groups if that is allowed, and ask for a handle."""
        self._access.check_see(request)
        page = None
        if self._access.may_list(request):
            page = self._listing.lately(_number(request))
        return self._shown(request, "home.html", {"page": page})

    def list_events(self, request: Request) -> Response:
        """Tell the list as it changes."""
        self._access.check_list(request)
        responses = extra("starlette.responses", of="web", needed_by="celerant.web")
        told = page_events(self._listing, _number(request), _LIST_INTERVAL)
        response: Response = responses.StreamingResponse(
            told, media_type=MEDIA_TYPE, headers=HEADERS
        )
        return response

    # -- one group -----------------------------------------------------------------

    def group(self, request: Request) -> Response:
        """Show a group."""
        self._access.check_see(request)
        address = Address.of(request.query_params)
        result, sender = self._found(request, address)
        if result is None:
            context: dict[str, Any] = {"id": address.group, "sender": sender}
            return self._shown(request, "sending.html", context)
        told = told_of(result)
        may_change = self._access.may_change(request)
        context = {
            "group": told,
            "address": address.fields,
            "may_cancel": may_change and not told.is_over,
            "may_retry": may_change and told.is_mendable and self._knows(result),
        }
        return self._shown(request, "group.html", context)

    def events(self, request: Request) -> Response:
        """Tell a group's progress as it goes."""
        self._access.check_see(request)
        return progress_events(self._reached(request, Address.of(request.query_params)))

    def progress(self, request: Request) -> Response:
        """Tell the progress of the group of a token: counts, and nothing else."""
        token = request.path_params["token"]
        return progress_events(read(token, self._secret, self._app.backend))

    async def cancel(self, request: Request) -> Response:
        """Cancel a group, and show it again."""
        return await self._changed(request, lambda result: result.cancel())

    async def retry(self, request: Request) -> Response:
        """Send the members of a group that failed once more, and show it again."""

        def send(result: GroupResult[Any]) -> object:
            given = None if self._source_of is None else self._source_of(result)
            return result.retry("failed", given)

        return await self._changed(request, send)

    async def _changed(
        self, request: Request, change: Callable[[GroupResult[Any]], object]
    ) -> Response:
        concurrency = extra("starlette.concurrency", of="web", needed_by="celerant.web")
        responses = extra("starlette.responses", of="web", needed_by="celerant.web")
        self._access.check_change(request)
        address = Address.of(await request.form())

        def act() -> None:
            change(self._reached(request, address))

        await concurrency.run_in_threadpool(act)
        url = request.url_for("group").include_query_params(**address.fields)
        response: Response = responses.RedirectResponse(url, status_code=303)
        return response

    def _reached(self, request: Request, address: Address) -> GroupResult[Any]:
        result, sender = self._found(request, address)
        if result is None:
            msg = (
                f"group {address.group} is still being sent by {sender}: it can be "
                "looked at and changed there, and here once all of it was sent"
            )
            raise HandleError(msg)
        return result

    def _found(
        self, request: Request, address: Address
    ) -> tuple[GroupResult[Any] | None, str]:
        """Return a group's result, None if another process sends it, and who does."""
        backend = self._app.backend
        if address.handle is not None:
            result = self._app.attach(address.handle)
            # What this process has sent it can stop and send again.
            return live(result.roster.uuid) or result, ""
        self._access.check_list(request)
        entry = entry_of(backend, address.group or "")
        return result_of(entry, backend), entry.sender

    def _knows(self, result: GroupResult[Any]) -> bool:
        """Whether the members of a group may be found, to send some once more."""
        return self._source_of is not None or live(result.roster.uuid) is not None

    # -- what went wrong -----------------------------------------------------------

    def wrong(self, request: Request, exc: Exception) -> Response:
        """Tell that a handle or token is none of this site's."""
        return self._shown(request, "wrong.html", {"error": str(exc)}, 404)

    def refused(self, request: Request, exc: Exception) -> Response:
        """Tell why members cannot be sent once more."""
        return self._shown(request, "wrong.html", {"error": str(exc)}, 409)

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


def _number(request: Request) -> int:
    """Return the number of the page that is asked for."""
    given = request.query_params.get("page", "1")
    return max(1, int(given)) if given.isascii() and given.isdigit() else 1
