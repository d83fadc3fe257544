"""From a member's task and options to the template of its message."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celerant._core import Template
from celerant.dispatch.blueprints import Blueprints, Drawn
from celerant.dispatch.link import Link

__all__ = ["Renderer"]


class Renderer:
    """Resolves templates for a plan; `link` is set before that is read."""

    def __init__(self, blueprints: Blueprints) -> None:
        self._blueprints = blueprints
        self._bare: Blueprints | None = None
        self.link: Link | None = None

    def resolve(
        self, name: str, options: Mapping[str, Any], args: Any, kwargs: Any
    ) -> Template:
        """Render the message of a member; the plan calls this once per kind."""
        return self._rendered(self._blueprints, name, options, args, kwargs)

    def resolve_final(
        self, name: str, options: Mapping[str, Any], args: Any, kwargs: Any
    ) -> Template:
        """Render what a chain or chord became: the call has nothing to add to it."""
        if self._bare is None:
            self._bare = self._blueprints.bare()
        return self._rendered(self._bare, name, options, args, kwargs)

    def render(self, drawn: Drawn, parameters: Any = None) -> tuple[Template, bool]:
        """Render a drawn message.

        Returns:
            Its template, and whether the wire carries it.
        """
        link = self.link
        assert link is not None  # noqa: S101 - set before the plan is read
        wired = link.wired_form(drawn)
        body = drawn.blueprint.body
        template = Template(
            link.loose.render(drawn) if wired is None else wired,
            encode=body,
            embed=body.embed_json() if body.plain else None,
            parameters=parameters,
            ignored=drawn.ignored,
            reusable=drawn.reusable,
            timed=drawn.timed,
            heard=drawn.heard,
        )
        return template, wired is not None

    def headers(self, values: Iterable[Any]) -> list[bytes]:
        """Encode values for the slots `OWN` of a wired template."""
        assert self.link is not None  # noqa: S101 - set before the plan is read
        wire = self.link.wire
        assert wire is not None  # noqa: S101 - else no template is wired
        return [wire.header(value) for value in values]

    def _rendered(
        self,
        blueprints: Blueprints,
        name: str,
        options: Mapping[str, Any],
        args: Any,
        kwargs: Any,
    ) -> Template:
        link = self.link
        assert link is not None  # noqa: S101 - set before the plan is read
        key = blueprints.key(name, options)
        kept = None if key is None else link.template(key)
        if kept is not None:
            return kept
        drawn = blueprints.draw(name, options, args, kwargs)
        template, is_wired = self.render(drawn, blueprints.parameters(name))
        entities = drawn.blueprint.declare if is_wired else ()
        # Who is bound to an exchange may change.
        if key is not None and not drawn.blueprint.exchange:
            link.keep(key, template, entities)
        return template
