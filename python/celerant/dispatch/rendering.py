"""From a member's task and options to the template of its message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celerant._core import Template
from celerant.dispatch.carrier import Carrier
from celerant.dispatch.drawing import Drawer
from celerant.dispatch.envelope import Blueprint

__all__ = ["Renderer"]


class Renderer:
    """Resolves templates for a plan; `carrier` is set before that is read."""

    def __init__(self, drawer: Drawer) -> None:
        self._drawer = drawer
        #: For messages of chains and chords, by whether they have a position in a
        #: group.
        self._bare: dict[bool, Drawer] = {}
        self.carrier: Carrier | None = None

    def resolve(
        self,
        name: str,
        options: Mapping[str, Any],
        args: Any,
        kwargs: Any,
        drawer: Drawer | None = None,
    ) -> Template:
        """Render the message of a member; the plan calls this once per template."""
        drawer = drawer or self._drawer
        carrier = self.carrier
        assert carrier is not None  # noqa: S101 - set before the plan is read
        key = drawer.key(name, options)
        kept = None if key is None else carrier.template(key)
        if kept is not None:
            return kept
        blueprint = drawer.draw(name, options, args, kwargs)
        template = self.render(blueprint, drawer.parameters(name))
        # The queues that are bound to an exchange may change.
        if key is not None and not blueprint.exchange:
            entities = blueprint.declare if template.is_wired else ()
            carrier.keep(key, template, entities)
        return template

    def resolve_final(
        self,
        name: str,
        options: Mapping[str, Any],
        args: Any,
        kwargs: Any,
        is_placed: bool,  # noqa: FBT001 - called by position alone
    ) -> Template:
        """Render a message of a chain or chord: the call has nothing to add to it.

        Args:
            name: The task's.
            options: All its options, without those in its body.
            args: For routes that look at arguments.
            kwargs: For routes that look at arguments.
            is_placed: Whether its ``group_index`` is a member's, and not among these.
        """
        bare = self._bare.get(is_placed)
        if bare is None:
            bare = self._bare[is_placed] = self._drawer.bare(is_placed=is_placed)
        return self.resolve(name, options, args, kwargs, bare)

    def render(self, blueprint: Blueprint, parameters: Any = None) -> Template:
        """Render a message that was drawn."""
        assert self.carrier is not None  # noqa: S101 - set before the plan is read
        body = blueprint.body
        return Template(
            self.carrier.render(blueprint),
            encode=body,
            embed=body.embed_json() if body.plain else None,
            parameters=parameters,
            ignored=blueprint.ignored,
            reusable=blueprint.reusable,
            timed=blueprint.timed,
            heard=blueprint.heard,
        )

    def headers(self, values: Iterable[Any]) -> list[bytes]:
        """Encode values for the slots `OWN` of a wired template."""
        assert self.carrier is not None  # noqa: S101 - set before the plan is read
        return [self.carrier.header(value) for value in values]
