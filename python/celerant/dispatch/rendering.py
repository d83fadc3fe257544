"""From a member's task and options to the template of its message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celerant._core import Template
from celerant.dispatch.blueprints import Blueprints
from celerant.dispatch.links import Link

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
        form = link.wired_form(drawn)
        entities = drawn.blueprint.declare if form is not None else ()
        if form is None:
            form = link.loose.render(drawn)
        body = drawn.blueprint.body
        template = Template(
            form,
            encode=body,
            embed=body.embed_json() if body.plain else None,
            parameters=blueprints.parameters(name),
            ignored=drawn.ignored,
            reusable=drawn.reusable,
            timed=drawn.timed,
        )
        # Who is bound to an exchange may change.
        if key is not None and not drawn.blueprint.exchange:
            link.keep(key, template, entities)
        return template
