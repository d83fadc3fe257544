"""What a canvas needs of the app it is sent through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from celerant.canvas.group import group
    from celerant.canvas.signature import Signature
    from celerant.results.async_result import AsyncResult
    from celerant.results.group_result import GroupResult

__all__ = ["Host", "Sender"]


class Sender(Protocol):
    """How an app sends and runs canvases."""

    def send_signature(
        self,
        signature: Signature[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Any,
    ) -> AsyncResult[Any]:
        """Send one task."""
        ...

    def send_group(
        self,
        members: group[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Any,
    ) -> GroupResult[Any]:
        """Send all members of a group."""
        ...

    def apply_signature(
        self,
        signature: Signature[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Any,
    ) -> AsyncResult[Any]:
        """Run one task in place."""
        ...

    def apply_group(
        self,
        members: group[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Any,
    ) -> GroupResult[Any]:
        """Run all members of a group in place."""
        ...

    def freeze_group(self, members: group[Any], options: Any) -> GroupResult[Any]:
        """Give a group and its members their ids, sending nothing."""
        ...

    def send_canvas(
        self,
        canvas: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Any,
        *,
        held: Any = None,
    ) -> Any:
        """Send a chain."""
        ...

    def send_chord(
        self,
        canvas: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Any,
        *,
        held: Any = None,
    ) -> Any:
        """Send a chord."""
        ...

    def apply_canvas(
        self,
        canvas: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Any,
    ) -> Any:
        """Run a chain or chord in place."""
        ...

    def freeze_canvas(self, canvas: Any, task_id: str | None) -> Any:
        """Give a chain or chord and all in it their ids, sending nothing."""
        ...

    def hold(
        self,
        canvas: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Any,
        *,
        unsent: str,
    ) -> Any:
        """Freeze a canvas that is sent later, or never because of `unsent`."""
        ...

    def resume_group(
        self,
        members: group[Any],
        result: GroupResult[Any],
        unknown: Literal["send", "skip"],
    ) -> GroupResult[Any]:
        """Send what an interrupted dispatch left over."""
        ...

    def resume_chord(self, result: Any, unknown: Literal["send", "skip"]) -> Any:
        """Send what is left over of a chord's header."""
        ...


class Host(Protocol):
    """The part of an app that signatures and groups see."""

    @property
    def tasks(self) -> Mapping[str, Any]:
        """Registered tasks by name."""
        ...

    @property
    def sender(self) -> Sender:
        """What sends them."""
        ...
