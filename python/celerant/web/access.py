"""Who may do what on the site, and which group a request is about."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from celerant.common.extras import extra
from celerant.errors import HandleError

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["Access", "Address", "Allows", "answer_of", "refuse_other_sites"]

T = TypeVar("T")
R = TypeVar("R")

Allows = Callable[["Request"], "bool | Awaitable[bool]"]

#: Answers that count by their truth. Other objects are true whatever they stand for: a
#: function that was not called, or a coroutine.
_PLAIN = (bool, int, float, str, bytes, list, tuple, dict, set, frozenset)
#: No handle is longer.
_LENGTH_MOST = 300


def _everybody(_request: Request) -> bool:
    return True


def _nobody(_request: Request) -> bool:
    return False


@dataclass(frozen=True)
class Access:
    """What the site's owner allows to whom."""

    may_see: Allows = _everybody
    may_change: Allows = _nobody
    may_list: Allows = _nobody

    @classmethod
    def of(
        cls, see: Allows | None, change: Allows | None, list_: Allows | None
    ) -> Access:
        """Return the access that is given; None: as by default."""
        return cls(see or _everybody, change or _nobody, list_ or _nobody)

    async def lists(self, request: Request) -> bool:
        """Return whether a visitor may see the groups of others."""
        return await _allows("may_list", self.may_list, request)

    async def changes(self, request: Request) -> bool:
        """Return whether a visitor may cancel or retry."""
        return await _allows("may_change", self.may_change, request)

    async def check_see(self, request: Request) -> None:
        """Refuse who may not see pages."""
        if not await _allows("may_see", self.may_see, request):
            raise _refusal("this is not allowed")

    async def check_list(self, request: Request) -> None:
        """Refuse who may not see the groups of others."""
        await self.check_see(request)
        if not await self.lists(request):
            raise _refusal("listing groups is not allowed")

    async def check_change(self, request: Request) -> None:
        """Refuse who may not cancel or retry, and forms of other sites."""
        refuse_other_sites(request)
        await self.check_see(request)
        if not await self.changes(request):
            raise _refusal("this is not allowed")

    async def check_address(self, request: Request, address: Address) -> None:
        """Refuse who may not list groups, for a group without its handle."""
        if address.handle is None:
            await self.check_list(request)


@dataclass(frozen=True)
class Address:
    """Which group a request is about: by its handle, or by its id in the index."""

    handle: str | None
    group: str | None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Address:
        """Return the address in a query or a form.

        Raises:
            HandleError: There is none.
        """
        handle, group = (
            str(given.get(name) or "").strip() for name in ("handle", "group")
        )
        # A group's id may be of any length: its sender may have chosen it.
        if not (handle or group) or len(handle) > _LENGTH_MOST:
            msg = "give the handle of a group: `result.handle`"
            raise HandleError(msg)
        return cls(handle, None) if handle else cls(None, group)

    @property
    def fields(self) -> dict[str, str]:
        """The same, for an address or a form."""
        named = {"handle": self.handle, "group": self.group}
        return {name: value for name, value in named.items() if value is not None}


async def answer_of(ask: Callable[[T], R | Awaitable[R]], about: T) -> R:
    """Return what a function or coroutine of the site's owner answers.

    A function is called in a thread, for it may ask a database. A coroutine is awaited
    in the event loop, and no thread waits for it meanwhile.
    """
    concurrency = extra("starlette.concurrency", of="web", needed_by="celerant.web")
    answer: Any = await concurrency.run_in_threadpool(ask, about)
    done: R = await answer if inspect.isawaitable(answer) else answer
    return done


async def _allows(name: str, hook: Allows, request: Request) -> bool:
    answer: object = await answer_of(hook, request)
    if answer is None or isinstance(answer, _PLAIN):
        return bool(answer)
    msg = f"{name} returned {type(answer).__name__}, which is no answer: return a bool"
    raise TypeError(msg)


def refuse_other_sites(request: Request) -> None:
    """Refuse a form that was sent by a page of another site."""
    fetched = request.headers.get("sec-fetch-site")
    if fetched is not None:
        is_own = fetched == "same-origin"
    else:
        # Browsers that don't tell that tell the origin of each POST.
        host = _host_of(request.headers.get("origin", ""))
        is_own = bool(host) and host == request.headers.get("host")
    if not is_own:
        raise _refusal("the form is of another site")


def _host_of(origin: str) -> str:
    """Return host and port of an origin, as a browser names them to a server too."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _refusal(detail: str) -> Exception:
    exceptions = extra("starlette.exceptions", of="web", needed_by="celerant.web")
    refusal: Exception = exceptions.HTTPException(403, detail)
    return refusal
