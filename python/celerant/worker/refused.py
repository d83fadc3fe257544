"""A message that cannot be run here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant.common.stock_errors import named_exception

if TYPE_CHECKING:
    from celerant.context.request import Request

__all__ = ["Refused"]


class Refused(Exception):  # noqa: N818 - a verdict on a message, not our fault
    """A message that cannot be run here.

    `request` has the parts of the message that could be read; it is None if not even
    the id could. `exception` is stored as the task's result.
    """

    def __init__(
        self, reason: str, request: Request | None, exception: Exception | None = None
    ) -> None:
        super().__init__(reason)
        #: The message; None if it could not be read as one.
        self.message: Any = None
        self.reason = reason
        self.request = request
        self.exception = exception or named_exception(
            "InvalidTaskError", "celery.exceptions", reason
        )
