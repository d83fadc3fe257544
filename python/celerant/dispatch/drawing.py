"""The protocol of a drawer, which knows how a task's message looks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Protocol

from celerant.dispatch.envelope import Blueprint

__all__ = ["Drawer"]


class Drawer(Protocol):
    """Draws the messages of one dispatch."""

    @property
    def call(self) -> dict[str, Any]:
        """The options of the call as given, with the group's id."""

    def bare(self, *, is_placed: bool) -> Drawer:
        """Return the same without group and call, for options that are complete.

        Args:
            is_placed: Whether each member has a position of its own in a group.
        """

    def reply_to(self) -> str:
        """Return the reply queue for results."""

    def parameters(self, name: str) -> Any:
        """Return the `inspect.Signature` that arguments must fit, if there is one."""

    def key(self, name: str, own: Mapping[str, Any]) -> Hashable | None:
        """Return all values that the message of a member depends on.

        Returns:
            None if the message serves this dispatch alone.
        """

    def draw(
        self, name: str, own: Mapping[str, Any], args: Any, kwargs: Any
    ) -> Blueprint:
        """Draw the message of a member.

        Args:
            name: The task's.
            own: The member's options.
            args: For routes that look at arguments.
            kwargs: For routes that look at arguments.
        Raises:
            SettingError: An unknown or impossible option; its `path` is set if the call
                gave it, since no single member is to blame then.
        """
