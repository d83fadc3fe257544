"""Who may do what on the site, and which group a request is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from celerant.common.extras import extra
from celerant.errors import HandleError

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["Access", "Address", "Allows", "refuse_other_sites"]

Allows = Callable[["Request"], bool]

#: No handle is longer, nor any id of a group that is of use in an address.
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

    def check_see(self, request: Request) -> None:
        """Refuse who may not see pages."""
        if not self.may_see(request):
            raise _refusal("this is not allowed")

    def check_list(self, request: Request) -> None:
        """Refuse who may not see the groups of others."""
        self.check_see(request)
        if not self.may_list(request):
            raise _refusal("listing groups is not allowed")

    def check_change(self, request: Request) -> None:
        """Refuse who may not cancel or retry, and forms of other sites."""
        refuse_other_sites(request)
        self.check_see(request)
        if not self.may_change(request):
            raise _refusal("this is not allowed")


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
        if not (handle or group) or max(len(handle), len(group)) > _LENGTH_MOST:
            msg = "give the handle of a group: `result.handle`"
            raise HandleError(msg)
        return cls(handle, None) if handle else cls(None, group)

    @property
    def fields(self) -> dict[str, str]:
        """The same, for an address or a form."""
        named = {"handle": self.handle, "group": self.group}
        return {name: value for name, value in named.items() if value is not None}


def refuse_other_sites(request: Request) -> None:
    """Refuse a form that was sent by a page of another site."""
    fetched = request.headers.get("sec-fetch-site")
    if fetched is not None:
        is_own = fetched == "same-origin"
    else:
        # Browsers that don't tell that tell the origin of each POST.
        origin = request.headers.get("origin", "")
        is_own = urlsplit(origin).netloc == request.headers.get("host")
    if not is_own:
        raise _refusal("the form is of another site")


def _refusal(detail: str) -> Exception:
    exceptions = extra("starlette.exceptions", of="web", needed_by="celerant.web")
    refusal: Exception = exceptions.HTTPException(403, detail)
    return refusal
