"""Receivers of Celery's signals, told of each member of a volley.

They get Celery's arguments, one member after the other in the group's order, and may
change the message. `before_task_publish` is sent for a chunk's members once all of them
are checked, and `after_task_publish` once the broker has taken them.
"""

from __future__ import annotations

import contextvars
import copy
import marshal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from operator import is_
from typing import Any

from celery import signals

from celerant._core import Chunk, Fate, Ledger, Template
from celerant._core import Heard as Member
from celerant.celery.recording import Recorder, blueprint_of
from celerant.dispatch.envelope import OWN, SLOTS, Blueprint
from celerant.dispatch.rendering import Renderer

__all__ = ["Heard", "Hearing"]

_NAMES = {text: name for name, text in SLOTS.items()}
#: Types whose values cannot be changed in place.
_FIXED = frozenset({str, int, float, bool, bytes, type(None)})
#: Types of headers that every wire writes in the same way, in any company.
_OWN_TYPES = frozenset({str, int, float, bool, type(None)})
#: How many messages are kept that receivers have made of one: more would be a leak if
#: each member had its own.
_KEPT = 256


class Heard:
    """The message that members share, as their receivers hear of it.

    Args:
        recorder: The call of Celery's own code for a member with slots.
        blueprint: The message for members that receivers do not change.
    """

    def __init__(self, recorder: Recorder, blueprint: Blueprint) -> None:
        told = dict(recorder.told)
        self._body: tuple[Any, Any, dict[str, Any]] = told.pop("body")
        self.name: str = told["sender"]
        self.headers: dict[str, Any] = told.pop("headers")
        self.properties: dict[str, Any] = told.pop("properties")
        self.declare: list[Any] | None = told.pop("declare")
        self._policy: dict[str, Any] | None = told.pop("retry_policy")
        #: Sender, exchange and routing key.
        self.address = told
        #: The arguments of `publish` beside the properties.
        self._fields = {
            k: v for k, v in recorder.fields.items() if k not in self.properties
        }
        self._blueprint = blueprint
        self.compression = blueprint.body.compression
        self._slots = _slots(self.headers)
        self._property_slots = _slots(self.properties)
        self._loose = _changeable(self.headers)
        self._loose_properties = _changeable(self.properties)
        self._no_embed = all(value is None for value in self._body[2].values())
        self._made: dict[bytes, Template] = {}

    def headers_of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a member's headers, given the values of its slots."""
        return _filled(self.headers, self._slots, self._loose, values)

    def properties_of(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a member's properties."""
        return _filled(
            self.properties, self._property_slots, self._loose_properties, values
        )

    def embed_of(self, own: dict[str, Any] | None) -> dict[str, Any]:
        """Return the third item of a member's body."""
        if own is None:
            own = self._body[2]
            if self._no_embed:
                return own.copy()
        return copy.deepcopy(own)

    def changed_embed(self, embed: dict[str, Any]) -> dict[str, Any] | None:
        """Return the body's third item now; None if it is still the one of all."""
        return None if self._no_embed and embed == self._body[2] else embed

    def policy(self) -> dict[str, Any] | None:
        """Return the retry policy, which is not read again; None before Celery 5.7."""
        return None if self._policy is None else dict(self._policy)

    def written(
        self, message: _Message, renderer: Renderer
    ) -> tuple[Template | None, list[bytes]]:
        """Return the template of a member's message, and headers of its own.

        Returns:
            The template is None if the members' common one still fits.
        """
        values = message.values
        is_same = _is_same(
            message.headers, message.were, self._loose, self.headers
        ) and _is_same(
            message.properties,
            message.properties_were,
            self._loose_properties,
            self.properties,
        )
        declare = message.declare
        declares = declare if declare is None else tuple(declare)
        if declares != (None if self.declare is None else tuple(self.declare)):
            return self._loosely(message, renderer), []
        if is_same:
            return None, []
        headers = _with_slots(message.headers, self._slots, values)
        own = _take_own(headers, message.were)
        properties = _with_slots(message.properties, self._property_slots, values)
        try:
            key = marshal.dumps((headers, properties), 2)
        except ValueError:
            # Not plain, so it cannot be compared with another.
            return self._loosely(message, renderer), []
        found = self._made.get(key)
        if found is None:
            found = renderer.render(self._drawn(message, headers, properties))
            if not found.is_wired:
                return self._loosely(message, renderer), []
            if len(self._made) >= _KEPT:
                self._made.clear()
            self._made[key] = found
        return found, renderer.headers(own)

    def _loosely(self, message: _Message, renderer: Renderer) -> Template:
        """Render a message without slots, for this member alone."""
        headers, properties = dict(message.headers), dict(message.properties)
        return renderer.render(self._drawn(message, headers, properties))

    def _drawn(
        self, message: _Message, headers: dict[str, Any], properties: dict[str, Any]
    ) -> Blueprint:
        if properties == self.properties and message.declare == self.declare:
            if self.compression:
                headers["compression"] = self.compression
            blueprint = replace(self._blueprint, headers=headers)
        else:
            recorder = Recorder()
            fields = {**self._fields, "declare": message.declare, "headers": headers}
            # As in Celery, a property that is named like an argument is an error.
            recorder.publish(self._body, **fields, **properties)
            blueprint = blueprint_of(self._body, recorder.fields, self._blueprint.body)
        return replace(blueprint, reusable=False)


@dataclass(slots=True, frozen=True)
class _Rewritten:
    """A member as its receivers left it, for the chunk."""

    #: None: the members' common one.
    template: Template | None
    args: Any
    kwargs: dict[str, Any]
    #: None: the one of all.
    embed: dict[str, Any] | None
    #: Headers of its own.
    own: list[bytes]


class _Message:
    """One member's message, which receivers may change."""

    __slots__ = (
        "_context",
        "body",
        "declare",
        "headers",
        "heard",
        "index",
        "properties",
        "properties_were",
        "values",
        "were",
    )

    def __init__(self, member: Member) -> None:
        heard: Heard = member.told
        self.heard = heard
        self.index = member.index
        self.values = {
            "id": member.id,
            "group_index": member.group_index,
            "argsrepr": member.argsrepr,
            "kwargsrepr": member.kwargsrepr,
        }
        self.headers = heard.headers_of(self.values)
        self.were = self.headers.copy()
        self.properties = heard.properties_of(self.values)
        self.properties_were = self.properties.copy()
        declare = heard.declare
        self.declare = None if declare is None else list(declare)
        embed = heard.embed_of(member.embed)
        self.body = (member.args, dict(member.kwargs), embed)
        # One signal may open a context that the other closes. Each member has its own
        # context, or each would be inside the one before.
        self._context: contextvars.Context | None = None
        if (
            signals.before_task_publish.receivers
            and signals.after_task_publish.receivers
        ):
            self._context = contextvars.copy_context()

    def _send(self, send: Callable[..., Any], **told: Any) -> None:
        if self._context is None:
            send(**told)
        else:
            self._context.run(send, **told)

    def leaving(self, renderer: Renderer) -> _Rewritten:
        """Call the receivers, and return the message as they have changed it."""
        heard = self.heard
        self._send(
            signals.before_task_publish.send,
            **heard.address,
            body=self.body,
            declare=self.declare,
            headers=self.headers,
            properties=self.properties,
            retry_policy=heard.policy(),
        )
        template, own = heard.written(self, renderer)
        if heard.compression:
            # kombu does so, and `after_task_publish` shows it.
            self.headers["compression"] = heard.compression
        args, kwargs, embed = self.body
        return _Rewritten(template, args, kwargs, heard.changed_embed(embed), own)

    def left(self) -> None:
        """Tell receivers that it has left."""
        address, headers, body = self.heard.address, self.headers, self.body
        self._send(
            signals.after_task_publish.send, **address, body=body, headers=headers
        )
        if signals.task_sent.receivers:
            name = self.heard.name
            self._send(
                signals.task_sent.send,
                sender=name,
                task_id=headers["id"],
                task=name,
                args=body[0],
                kwargs=body[1],
                eta=headers["eta"],
                taskset=headers["group"],
            )


class Hearing:
    """Tells receivers of the members of one dispatch; see `Listener`."""

    def __init__(self) -> None:
        self._leaving: list[_Message] = []

    def leaving(self, chunk: Chunk, renderer: Renderer) -> Chunk:
        """Call the receivers for a chunk's members, and return the changed members."""
        self._leaving = [_Message(member) for member in chunk.heard()]
        if not self._leaving:
            return chunk
        return chunk.rewritten([message.leaving(renderer) for message in self._leaving])

    def left(self, ledger: Ledger) -> None:
        """Tell receivers of the members that have left."""
        messages, self._leaving = self._leaving, []
        for message in messages:
            if ledger.fate(message.index) == Fate.CONFIRMED:
                message.left()


def _slots(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return which fields hold which slots."""
    return [
        (name, _NAMES[value])
        for name, value in fields.items()
        if isinstance(value, str) and value in _NAMES
    ]


def _changeable(fields: Mapping[str, Any]) -> dict[str, Callable[[Any], Any]]:
    """Return the fields whose values can be changed in place, and their copiers."""
    return {
        name: _copier(value)
        for name, value in fields.items()
        if type(value) not in _FIXED
    }


def _copier(value: Any) -> Callable[[Any], Any]:
    # The fields of every message: `timelimit` and `stamps`.
    is_flat = type(value) in {list, dict} and all(type(v) in _FIXED for v in value)
    if is_flat and (type(value) is list or not value):
        return copy.copy
    return copy.deepcopy


def _filled(
    fields: Mapping[str, Any],
    slots: list[tuple[str, str]],
    changeable: Mapping[str, Callable[[Any], Any]],
    values: Mapping[str, Any],
) -> dict[str, Any]:
    found = dict(fields)
    for name, slot in slots:
        found[name] = values[slot]
    for name, copied in changeable.items():
        found[name] = copied(found[name])
    return found


def _is_same(
    fields: dict[str, Any],
    were: dict[str, Any],
    changeable: Iterable[str],
    originals: Mapping[str, Any],
) -> bool:
    """Whether fields are unchanged; 1 and True are not the same."""
    return (
        len(fields) == len(were)
        and all(map(is_, fields.values(), were.values()))
        and list(fields) == list(were)
        and all(fields[name] == originals[name] for name in changeable)
    )


def _with_slots(
    fields: dict[str, Any], slots: list[tuple[str, str]], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return fields with slots again, if they still hold the member's own."""
    slotted = dict(fields)
    for name, slot in slots:
        if slotted.get(name) is values[slot]:
            slotted[name] = SLOTS[slot]
    return slotted


def _take_own(headers: dict[str, Any], were: Mapping[str, Any]) -> list[Any]:
    """Replace a receiver's values by slots; return the values."""
    changed = [
        name
        for name, value in headers.items()
        if type(value) in _OWN_TYPES
        and not (name in were and value is were[name])
        and value not in _NAMES
    ]
    own: list[Any] = []
    for name, slot in zip(changed, OWN, strict=False):
        own.append(headers[name])
        headers[name] = SLOTS[slot]
    return own
