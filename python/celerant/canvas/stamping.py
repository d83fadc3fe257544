"""Stamps: headers of the user's own on every message of a canvas.

Source: ``StampingVisitor`` and ``stamp`` in ``celery.canvas`` of celery 5.7.0.
"""

from __future__ import annotations

import copy
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from celerant.canvas.data import CanvasData, maybe_signature
from celerant.canvas.kinds import CLASSES, FOLLOWING, kind_of
from celerant.canvas.parts import Inside, Part
from celerant.canvas.source import Mapped, Stream
from celerant.common.listed import listed
from celerant.errors import CanvasError

if TYPE_CHECKING:
    from celerant.canvas.base import Canvas
    from celerant.canvas.chain import Chain
    from celerant.canvas.chord import chord
    from celerant.canvas.group import group
    from celerant.canvas.signature import Signature
    from celerant.context.host import App

__all__ = ["StampingVisitor", "stamp"]

Stamps = dict[str, Any]


class StampingVisitor(ABC):
    """Gives each part of a canvas its stamps; pass one to ``canvas.stamp``.

    Each method gets the stamps from further out as `headers`, and returns its own by
    name. If ``stamped_headers`` is among them, only the names in it are stamps, and the
    rest are options. Celery's visitors work too.
    """

    @abstractmethod
    def on_signature(self, sig: Signature[Any], **headers: Any) -> Stamps:
        """Return the stamps of one task."""

    def on_group_start(self, group: group[Any], **headers: Any) -> Stamps:  # noqa: ARG002
        """Return the stamps of every member; called before these are stamped."""
        return {}

    def on_group_end(  # noqa: B027 - a hook may stay empty
        self, group: group[Any], **headers: Any
    ) -> None:
        """Do something once the members are stamped; a generator's are later."""

    def on_chain_start(self, chain: Chain[Any], **headers: Any) -> Stamps:  # noqa: ARG002
        """Return the stamps of every step; called before these are stamped."""
        return {}

    def on_chain_end(  # noqa: B027 - a hook may stay empty
        self, chain: Chain[Any], **headers: Any
    ) -> None:
        """Do something once the steps are stamped."""

    def on_chord_header_start(self, sig: chord[Any], **header: Any) -> Stamps:
        """Return the stamps of the header's tasks: by default a group's."""
        return self.on_group_start(header_group(sig), **header)

    def on_chord_header_end(self, sig: chord[Any], **header: Any) -> None:
        """Do something once the header is stamped."""
        self.on_group_end(header_group(sig), **header)

    def on_chord_body(self, sig: chord[Any], **header: Any) -> Stamps:  # noqa: ARG002
        """Return the stamps of a chord's body."""
        return {}

    def on_callback(self, callback: Canvas[Any], **header: Any) -> Stamps:  # noqa: ARG002
        """Return the stamps of a callback."""
        return {}

    def on_errback(self, errback: Canvas[Any], **header: Any) -> Stamps:  # noqa: ARG002
        """Return the stamps of an errback."""
        return {}


def header_group(canvas: chord[Any]) -> group[Any]:
    """Return a chord's header as a group that shares its tasks."""
    header = canvas["kwargs"]["header"]
    if isinstance(header, CLASSES.group):
        return header
    made: group[Any] = CLASSES.group(app=canvas.own_app)
    made["kwargs"]["tasks"] = header
    return made


def stamp(canvas: Any, visitor: Any, headers: Stamps, *, append: bool) -> None:
    """Stamp a canvas and all in it; see `Canvas.stamp`.

    Raises:
        CanvasError: The canvas contains itself, or is too deep.
    """
    name = kind_of(canvas).name or "task"
    root = Part(canvas, "root", name, None, None)
    _Stamping(visitor, append=append).part(root, headers)


class _Stamping:
    """One walk over a canvas."""

    def __init__(
        self, visitor: Any, *, append: bool, inside: Inside | None = None
    ) -> None:
        self._visitor = visitor
        self._append = append
        self._inside = Inside() if inside is None else inside

    def part(self, part: Part, headers: Stamps) -> None:
        """Stamp a canvas; `headers` are the stamps from further out."""
        canvas = part.canvas
        if not isinstance(canvas, CanvasData):
            msg = (
                f"stamp: signatures, groups, chains and chords can be stamped, not "
                f"{type(canvas).__name__}; use task.s(...)"
            )
            raise CanvasError(msg, path=part.path)
        self._inside.enter(part)
        try:
            if isinstance(canvas, CLASSES.chord):
                self._chord(part, headers)
            elif isinstance(canvas, (CLASSES.group, CLASSES.chain)):
                self._listed(part, headers)
            else:
                self.links(part, headers)
                found = self._asked("on_signature", canvas, headers)
                canvas.set(**self._merged(found, headers, canvas.options))
        finally:
            self._inside.leave()

    def _listed(self, part: Part, headers: Stamps) -> None:
        """Stamp a group or chain."""
        canvas, kind = part.canvas, kind_of(part.canvas).name
        found = self._asked(f"on_{kind}_start", canvas, headers)
        headers = self._merged(found, headers, canvas.options)
        # As in Celery, stamps of a chain's callbacks are never appended to.
        append = self._append and kind != "chain"
        _Stamping(self._visitor, append=append, inside=self._inside).links(
            part, headers
        )
        canvas["kwargs"]["tasks"] = self._held(part, "tasks", headers, canvas.own_app)
        self._told(f"on_{kind}_end", canvas, headers)

    def _chord(self, part: Part, headers: Stamps) -> None:
        canvas: chord[Any] = part.canvas
        kwargs = canvas["kwargs"]
        is_list = not isinstance(kwargs["header"], dict)
        if self._visitor is not None and is_list:
            # While a visitor looks at it: its hooks are for groups.
            kwargs["header"] = header_group(canvas)
        found = self._asked("on_chord_header_start", canvas, headers)
        headers = self._merged(found, headers, canvas.options)
        self.links(part, headers)
        header = kwargs["header"]
        if isinstance(header, dict):
            outer = Part(header, "header", "header", None, part)
            app = canvas.own_app
            header["kwargs"]["tasks"] = self._held(outer, "tasks", headers, app)
        else:
            kwargs["header"] = self._held(part, "header", headers, canvas.own_app)
        self._told("on_chord_header_end", canvas, headers)
        if is_list and isinstance(header, dict) and not header["options"]:
            kwargs["header"] = header["kwargs"]["tasks"]
        # As in Celery, the body is left as it is without a visitor.
        if self._visitor is not None and canvas.body is not None:
            found = self._asked("on_chord_body", canvas, headers)
            headers = self._merged(found, headers, canvas.options)
            canvas.body = maybe_signature(canvas.body, canvas.own_app)
            self.part(Part(canvas.body, "body", "body", None, part), headers)

    def _held(self, outer: Part, key: str, headers: Stamps, app: App | None) -> Any:
        """Stamp members; return them, as canvases if some were plain dicts."""
        source = outer.canvas["kwargs"][key]
        if isinstance(source, Mapped) and self._visitor is None:
            # All items share these.
            more = self._merged(None, headers, source.options)
            options = {**source.options, **more}
            return Mapped(source.task, source.items, options, star=source.star)
        if isinstance(source, (Stream, Mapped)):
            return Stream(self._lazily(source, headers, app))
        members = [maybe_signature(member, app) for member in source]
        role = kind_of(outer.canvas).holds[key]
        for index, member in enumerate(members):
            self.part(Part(member, role, key, index, outer), headers)
        return source if all(map(operator.is_, members, source)) else members

    def _lazily(
        self, source: Iterable[Any], headers: Stamps, app: App | None
    ) -> Iterator[Any]:
        """Stamp a generator's members when they come out of it."""
        for member in source:
            canvas = maybe_signature(member, app)
            stamp(canvas, self._visitor, headers, append=self._append)
            yield canvas

    def links(self, part: Part, headers: Stamps) -> None:
        """Stamp callbacks and errbacks; they do not get their task's own stamps."""
        canvas = part.canvas
        for option, hook in (("link", "on_callback"), ("link_error", "on_errback")):
            given = listed(canvas.options.get(option))
            if not given:
                continue
            links = [maybe_signature(link, canvas.own_app) for link in given]
            canvas.options[option] = links
            # As in Celery, each also gets the visitor's stamps for the ones before it.
            common = copy.deepcopy(headers)
            for index, link in enumerate(links):
                found = self._asked(hook, link, common)
                common = self._merged(found, common, None)
                self.part(Part(link, FOLLOWING[option], option, index, part), common)

    def _asked(self, hook: str, canvas: Any, headers: Stamps) -> Stamps | None:
        """Return the visitor's stamps; None if there is no visitor."""
        return None if self._visitor is None else self._call(hook, canvas, headers)

    def _told(self, hook: str, canvas: Any, headers: Stamps) -> None:
        if self._visitor is not None:
            self._call(hook, canvas, headers)

    def _call(self, hook: str, canvas: Any, headers: Stamps) -> Stamps:
        method = getattr(self._visitor, hook)
        if hook.startswith("on_chord_header") and method.__module__ == "celery.canvas":
            # Its default looks for a group of Celery's own.
            default = getattr(StampingVisitor, hook)
            return default(self._visitor, canvas, **headers) or {}
        return method(canvas, **headers) or {}

    def _merged(
        self, found: Stamps | None, headers: Stamps, own: Mapping[str, Any] | None
    ) -> Stamps:
        """Return all stamps of a canvas.

        Args:
            found: The visitor's stamps for it.
            headers: The stamps from further out.
            own: Its options, among them its own stamps.
        """
        merged = {"stamped_headers": list(headers), **headers}
        merged["stamped_headers"] = list(merged["stamped_headers"])
        if found is not None:
            found = {"stamped_headers": list(found), **found}
            found["stamped_headers"] = list(found["stamped_headers"])
            _lay_under(merged, found, append=self._append)
        if own is not None:
            names = own.get("stamped_headers") or ()
            merged["stamped_headers"] = [*merged["stamped_headers"], *names]
            known = {k: own[k] for k in merged["stamped_headers"] if k in own}
            _lay_under(merged, known, append=self._append)
        merged["stamped_headers"] = list(dict.fromkeys(merged["stamped_headers"]))
        return merged


def _lay_under(stamps: Stamps, more: Mapping[str, Any], *, append: bool) -> None:
    """Add the stamps that are missing; with `append`, one that is there becomes a list.

    Lists are joined and dicts merged in any case. No value is changed in place: it may
    be another member's too.
    """
    for name, value in more.items():
        present = stamps.get(name)
        if name not in stamps:
            stamps[name] = value
        elif isinstance(present, dict) and isinstance(value, dict):
            merged = dict(present)
            _lay_under(merged, value, append=append)
            stamps[name] = merged
        elif isinstance(present, list) and isinstance(value, list):
            stamps[name] = [*present, *value]
        elif append:
            is_scalar = isinstance(present, (int, float, str))
            adds = value if is_scalar and isinstance(value, list) else [value]
            stamps[name] = [*listed(present), *adds]
