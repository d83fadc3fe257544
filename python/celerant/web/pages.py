"""The pages of the site, as handlers of Starlette's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from celerant.common.clients import is_of_client
from celerant.common.extras import extra
from celerant.common.printable import line
from celerant.errors import CelerantError, HandleError
from celerant.results.indexed import entry_of, live, result_of
from celerant.starlette import progress_events
from celerant.ui.events import HEADERS, MEDIA_TYPE, Shared
from celerant.web.access import Access, Address, answer_of
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
SourceOf = Callable[
    ["GroupResult[Any]"], "Iterable[Any] | Awaitable[Iterable[Any] | None] | None"
]

R = TypeVar("R")

#: No list has as many pages.
_DIGITS_MOST = 9
#: Seconds between two looks at the list.
_LIST_INTERVAL = 2.0


class Pages:
    """The pages; what asks the store runs in threads.

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
        self._followed: Shared[GroupResult[Any]] = Shared()
        jinja = extra("jinja2", of="web", needed_by="celerant.web")
        templating = extra("starlette.templating", of="web", needed_by="celerant.web")
        environment = jinja.Environment(
            loader=jinja.PackageLoader(__package__), autoescape=True
        )
        self._templates: Any = templating.Jinja2Templates(env=environment)

    # -- the list ------------------------------------------------------------------

    async def home(self, request: Request) -> Response:
        """List the groups if that is allowed, and ask for a handle."""
        await self._access.check_see(request)
        is_listed = await self._access.lists(request)

        def shown() -> Response:
            page = self._listing.lately(_number(request)) if is_listed else None
            return self._shown(request, "home.html", {"page": page})

        return await _in_thread(shown)

    async def list_events(self, request: Request) -> Response:
        """Tell the list as it changes."""
        await self._access.check_list(request)
        responses = extra("starlette.responses", of="web", needed_by="celerant.web")
        told = page_events(self._listing, _number(request), _LIST_INTERVAL)
        response: Response = responses.StreamingResponse(
            told, media_type=MEDIA_TYPE, headers=HEADERS
        )
        return response

    # -- one group -----------------------------------------------------------------

    async def group(self, request: Request) -> Response:
        """Show a group."""
        address = await self._asked(request)
        may_change = await self._access.changes(request)
        return await _in_thread(lambda: self._group(request, address, may_change))

    def _group(self, request: Request, address: Address, may_change: bool) -> Response:  # noqa: FBT001 - a permission
        result, sender = self._found(address)
        if result is None:
            context: dict[str, Any] = {"id": address.group, "sender": sender}
            return self._shown(request, "sending.html", context)
        told = told_of(result)
        context = {
            "group": told,
            "address": address.fields,
            "may_cancel": may_change and not told.is_over,
            "may_retry": may_change and told.is_mendable and self._knows(result),
        }
        return self._shown(request, "group.html", context)

    async def events(self, request: Request) -> Response:
        """Tell a group's progress as it goes."""
        address = await self._asked(request)
        result = await _in_thread(lambda: self._reached(address))
        return progress_events(self._followed.one_of(result))

    def progress(self, request: Request) -> Response:
        """Tell the progress of the group of a token: counts, and nothing else."""
        token = request.path_params["token"]
        result = read(token, self._secret, self._app.backend)
        return progress_events(self._followed.one_of(result))

    async def cancel(self, request: Request) -> Response:
        """Cancel a group, and show it again."""

        async def stop(result: GroupResult[Any]) -> None:
            await _in_thread(result.cancel)

        return await self._changed(request, stop)

    async def retry(self, request: Request) -> Response:
        """Send the members of a group that failed once more, and show it again."""

        async def send(result: GroupResult[Any]) -> None:
            given: Iterable[Any] | None = None
            if self._source_of is not None:
                given = await answer_of(self._source_of, result)
            await _in_thread(lambda: result.retry("failed", given))

        return await self._changed(request, send)

    async def _changed(
        self, request: Request, change: Callable[[GroupResult[Any]], Awaitable[None]]
    ) -> Response:
        responses = extra("starlette.responses", of="web", needed_by="celerant.web")
        await self._access.check_change(request)
        address = Address.of(await request.form())
        await self._access.check_address(request, address)
        await change(await _in_thread(lambda: self._reached(address)))
        url = request.url_for("group").include_query_params(**address.fields)
        # Host and scheme are those of a proxy, or none that a visitor can reach.
        url = url.replace(scheme="", netloc="")
        response: Response = responses.RedirectResponse(url, status_code=303)
        return response

    async def _asked(self, request: Request) -> Address:
        """Return which group a visitor wants to see; refuse who may not."""
        await self._access.check_see(request)
        address = Address.of(request.query_params)
        await self._access.check_address(request, address)
        return address

    def _reached(self, address: Address) -> GroupResult[Any]:
        result, sender = self._found(address)
        if result is None:
            msg = (
                f"group {address.group} is still being sent by {sender}: it can be "
                "looked at and changed there, and here once all of it was sent"
            )
            raise HandleError(msg)
        return result

    def _found(self, address: Address) -> tuple[GroupResult[Any] | None, str]:
        """Return a group's result, None if another process sends it, and who does."""
        backend = self._app.backend
        if address.handle is not None:
            result = self._app.attach(address.handle)
            # What this process has sent it can stop and send again.
            return live(result.roster.uuid) or result, ""
        entry = entry_of(backend, address.group or "")
        return result_of(entry, backend), entry.sender

    def _knows(self, result: GroupResult[Any]) -> bool:
        """Whether the members of a group may be found, to send some once more."""
        return self._source_of is not None or live(result.roster.uuid) is not None

    # -- what went wrong -----------------------------------------------------------

    def wrong(self, request: Request, exc: Exception) -> Response:
        """Tell that a handle or token is none of this site's, or leads to nothing."""
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
    is_number = given.isascii() and given.isdigit() and len(given) <= _DIGITS_MOST
    return max(1, int(given)) if is_number else 1


async def _in_thread(work: Callable[[], R]) -> R:
    concurrency = extra("starlette.concurrency", of="web", needed_by="celerant.web")
    try:
        done: R = await concurrency.run_in_threadpool(work)
    except Exception as exc:
        if _is_of_a_server(exc):
            raise CelerantError(line(exc)) from exc
        raise
    return done


def _is_of_a_server(exc: Exception) -> bool:
    """Whether an error is that of a broker or store, which is away for one."""
    is_of_network = isinstance(exc, ConnectionError | TimeoutError)
    return is_of_network or is_of_client(type(exc).__module__)
