"""A message that cannot be run here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant.common.stock_errors import named_exception

if TYPE_CHECKING:
    from celerant.context.request import Request

__all__ = ["Refused"]


class Refused(Exception):  # noqa: N818 - a verdict on a message, not our fault
    """A message that cannot be run here.

    `request` is the known part of its task, None if not even the id is known;
    `exception` is its result.
    """

    def __init__(
        self, reason: str, request: Request | None, exception: Exception | None = None
    ) -> None:
        super().__init__(reason)
        #: The message, if it was one at all.
        self.message: Any = None
        self.reason = reason
        self.request = request
        self.exception = exception or named_exception(
            "InvalidTaskError", "celery.exceptions", reason
        )
