"""From a task's name and options to its message, with slots for members' fields.

Source: ``Task.apply_async``, ``Celery.send_task``, ``AMQP.as_task_v2`` and
``send_task_message`` of celery 5.7.0.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from kombu import Queue

from celerant.canvas.send_options import (
    MESSAGE_PROPERTIES,
    NO_PART_OF_A_MESSAGE,
    check_options,
)
from celerant.common.group_stamp import GROUP_STAMP
from celerant.common.listed import listed_if_given
from celerant.common.urls import AMQP, transport
from celerant.config import Settings
from celerant.context.request import Request
from celerant.dispatch.clock import times_of
from celerant.dispatch.delays import delay_by_broker
from celerant.dispatch.destination import destination_of, mode_of
from celerant.dispatch.envelope import SLOTS, Blueprint, BodyEncoder
from celerant.dispatch.lasting import encoder_of, lasting
from celerant.dispatch.routing import Queues, Router
from celerant.dispatch.watching import Departure
from celerant.errors import SettingError

__all__ = ["Basis", "Blueprints", "Lineage"]

_ECHOED = ("argsrepr", "kwargsrepr", "origin")
_HOSTNAME = socket.gethostname()


@dataclass(slots=True, frozen=True)
class Lineage:
    """The root and parent of the tasks that are sent, from the task that sends."""

    root_id: str | None = None
    parent_id: str | None = None
    priority: int | None = None

    @classmethod
    def of(cls, request: Request | None) -> Lineage:
        """Return the lineage of tasks that are sent during `request`."""
        if request is None:
            return _NO_LINEAGE
        priority = request.delivery_info.get("priority")
        return cls(request.root_id or request.id, request.id, priority)


_NO_LINEAGE = Lineage()


@dataclass(slots=True, frozen=True)
class Basis:
    """The parts of an app that its blueprints need, until a setting changes."""

    conf: Settings
    queues: Queues
    router: Router
    #: By their names.
    tasks: Mapping[str, Any]
    #: The zone in which times are written; None is the machine's own.
    zone: tzinfo | None
    #: Returns the reply queue, which is opened if a result will come.
    reply_to: Callable[[bool], str]


class Blueprints:
    """Draws the messages of one dispatch of an app; see `Drawer`."""

    def __init__(  # noqa: PLR0913 - all that a message depends on
        self,
        basis: Basis,
        lineage: Lineage,
        group_id: str | None,
        options: Mapping[str, Any],
        *,
        is_placed: bool | None = None,
        departure: Departure | None = None,
        stamp: str | None = None,
        task_names: set[str] | None = None,
        is_fed: bool = False,
    ) -> None:
        self._basis = basis
        self._conf = basis.conf
        self._queues = basis.queues
        self._router = basis.router
        self._tasks = basis.tasks
        self._reply_to = basis.reply_to
        #: Whether each member has a position of its own, as a group's members do.
        self._is_placed = group_id is not None if is_placed is None else is_placed
        self._lineage = lineage
        self._group_id = group_id
        #: What each message is stamped with; None: nothing but its own.
        self._stamp = stamp
        self._given = options
        self._call = {k: v for k, v in options.items() if v is not None}
        if group_id is not None:
            # Its members are the result's, whatever id the call gives.
            self._call.pop("group_id", None)
        self._origin = f"gen{os.getpid()}@{_HOSTNAME}"
        #: None: nobody watches.
        self._departure = departure
        #: Of the messages that were drawn.
        self.task_names: set[str] = set() if task_names is None else task_names
        #: Whether others leave as these end: no broker may drop one unseen.
        self._is_fed = is_fed

    def bare(self, *, is_placed: bool) -> Blueprints:
        """Return the same without group and call, for options that are complete."""
        return Blueprints(
            self._basis,
            self._lineage,
            None,
            {},
            is_placed=is_placed,
            departure=self._departure,
            stamp=self._stamp,
            task_names=self.task_names,
            is_fed=self._is_fed,
        )

    def reply_to(self) -> str:
        """Return the reply queue for results."""
        return self._reply_to(True)  # noqa: FBT003 - called by position alone

    @property
    def call(self) -> dict[str, Any]:
        """The options of the call as given, with the group's id."""
        if self._group_id is None:
            return dict(self._given)
        return {**self._given, "group_id": self._group_id}

    def parameters(self, name: str) -> Any:
        """Return the `inspect.Signature` that arguments must fit, if there is one."""
        task = self._tasks.get(name)
        return task.parameters if task is not None and task.typing else None

    def key(self, name: str, own: Mapping[str, Any]) -> Hashable | None:
        """See `Drawer.key`."""
        if (
            self._is_placed
            or self._stamp is not None
            or self._lineage is not _NO_LINEAGE
            or self._router.reads_arguments
            or (self._departure is not None and self._departure.headers)
        ):
            return None
        task = self._tasks.get(name)
        if task is not None and "shadow_name" in task.hooks:
            return None
        of_task = {} if task is None else task.given_options()
        told: list[Any] = []
        serializers = [self._conf.task_serializer]
        for options in (of_task, own, self._call):
            found = lasting(options) if options else ()
            if found is None:
                return None
            told.append(found)
            if found and "serializer" in options:
                serializers.append(options["serializer"])
        of_both = {**own, **self._call}
        ignored = of_both.get("ignore_result")
        if task is not None:
            ignored = of_both.get("ignore_result", task.ignore_result)
            told.append((task, ignored, task.typing))
        return (
            name,
            *told,
            # Somebody may register another encoder under the name.
            *map(encoder_of, serializers),
            self._conf.version,
            self._queues.version,
            self._reply_to(not ignored),
        )

    def draw(
        self, name: str, own: Mapping[str, Any], args: Any, kwargs: Any
    ) -> Blueprint:
        """See `Drawer.draw`."""
        try:
            return self._draw(name, own, args, kwargs)
        except SettingError as exc:
            if self._group_id is not None and exc.name in self._call:
                exc.path, exc.args = "group", (f"group: {exc}",)
            raise

    def _draw(
        self, name: str, own: Mapping[str, Any], args: Any, kwargs: Any
    ) -> Blueprint:
        check_options(own)
        task = self._tasks.get(name)
        options = self._merge(task, own)
        ignore_result = options.pop("ignore_result", None)
        shadow = options.pop("shadow", None)
        names_itself = False
        if task is not None and "shadow_name" in task.hooks:
            names_itself = True
            shadow = shadow or task.shadow_name(args, kwargs, options)
        options = self._router.route(
            options, options.pop("route_name", None) or name, args, kwargs, task
        )
        self._inherit_priority(options)
        countdown, eta = options.pop("countdown", None), options.pop("eta", None)
        expires = options.pop("expires", None)
        if (countdown or eta) and self._is_rabbitmq():
            delay_by_broker(
                options,
                self._queues.values(),
                countdown=countdown,
                eta=eta,
            )
        times = times_of(
            countdown=countdown, eta=eta, expires=expires, zone=self._basis.zone
        )
        headers, properties = self._message(name, options, times, ignore_result, shadow)
        blueprint = self._blueprint(
            options,
            headers,
            properties,
            None if task is None else task.dump_models,
            ignored=bool(ignore_result),
            reusable=not (self._router.reads_arguments or names_itself),
            timed=bool(countdown) or expires is not None,
        )
        if times.expiration_ms is not None and not self._is_fed:
            blueprint.properties["expiration"] = str(times.expiration_ms)
        self.task_names.add(name)
        if self._departure is not None:
            self._departure.tasks.add(name)
            self._departure.queues.add(blueprint.routing_key)
        return blueprint

    def _is_rabbitmq(self) -> bool:
        return transport(self._conf.broker_write_url) in AMQP

    def _merge(self, task: Any, own: Mapping[str, Any]) -> dict[str, Any]:
        fixed = {"group_id", "stamped_headers", *(own.get("stamped_headers") or ())}
        # A None of its own takes away what the task has.
        merged = dict(own)
        for option, value in self._call.items():
            if not (option in fixed and option in merged):
                merged[option] = value
        if task is not None:
            merged = {**task.sent_options(), **merged}
            merged.setdefault("ignore_result", task.ignore_result)
        for option in NO_PART_OF_A_MESSAGE:
            merged.pop(option, None)
        if self._group_id is not None and merged.get("group_id") is None:
            merged["group_id"] = self._group_id
        return merged

    def _inherit_priority(self, options: dict[str, Any]) -> None:
        # After routing, as in Celery: an option that the task does not have is None
        # until then.
        lineage = self._lineage
        is_whole = options.get("root_id") and options.get("parent_id")
        if (
            self._conf.task_inherit_parent_priority
            and lineage.parent_id is not None
            and not is_whole
        ):
            options.setdefault("priority", lineage.priority)

    def _message(
        self,
        name: str,
        options: dict[str, Any],
        times: Any,
        ignore_result: bool | None,  # noqa: FBT001 - a value of the message, not a switch
        shadow: str | None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Take protocol 2's fields out of the options; the rest stays in them."""
        take = options.pop
        # A single task may be a step of a chain: another dispatch, or a worker, has
        # placed it.
        group_index = take("group_index", None)
        # Celery passes these on among the properties too, and nobody reads them there.
        echoed = {k: options[k] for k in _ECHOED if options.get(k) is not None}
        stamped = take("stamped_headers", None)
        stamps = {stamp: _stamp(options, stamp) for stamp in stamped or ()}
        if self._stamp is not None:
            stamped = [*(stamped or ()), GROUP_STAMP]
            stamps[GROUP_STAMP] = self._stamp
        parent = self._lineage
        headers: dict[str, Any] = {
            "lang": "py",
            "task": name,
            "id": SLOTS["id"],
            "shadow": shadow,
            "eta": times.eta,
            "expires": times.expires,
            "group": take("group_id", None),
            "group_index": SLOTS["group_index"] if self._is_placed else group_index,
            "retries": take("retries", 0),
            "timelimit": [take("time_limit", None), take("soft_time_limit", None)],
            "root_id": take("root_id", None) or parent.root_id or SLOTS["id"],
            "parent_id": take("parent_id", None) or parent.parent_id,
            "argsrepr": take("argsrepr", SLOTS["argsrepr"]),
            "kwargsrepr": take("kwargsrepr", SLOTS["kwargsrepr"]),
            "origin": take("origin", None) or self._origin,
            "ignore_result": ignore_result,
            "replaced_task_nesting": take("replaced_task_nesting", 0),
            "stamped_headers": stamped,
            "stamps": stamps,
        }
        if self._departure is not None:
            headers.update(self._departure.headers)
        headers.update(take("headers", None) or {})
        properties = {
            "correlation_id": SLOTS["id"],
            "reply_to": _name(take("reply_to", None))
            or self._reply_to(not ignore_result),
            **echoed,
        }
        for option in MESSAGE_PROPERTIES & options.keys():
            properties[option] = take(option)
        properties.update(take("properties", None) or {})
        expiration = take("expiration", None)
        if expiration is not None:
            properties["expiration"] = str(int(expiration * 1000))
        return headers, properties

    def _blueprint(  # noqa: PLR0913 - all parts of a message
        self,
        options: dict[str, Any],
        headers: dict[str, Any],
        properties: dict[str, Any],
        dump_models: Callable[[Any, Any], tuple[Any, Any]] | None,
        *,
        ignored: bool,
        reusable: bool,
        timed: bool,
    ) -> Blueprint:
        conf, take = self._conf, options.pop
        destination = destination_of(options, self._queues)
        body = BodyEncoder(
            {
                "callbacks": listed_if_given(take("link", None)),
                "errbacks": listed_if_given(take("link_error", None)),
                "chain": take("chain", None),
                "chord": take("chord", None),
            },
            take("serializer", None) or conf.task_serializer,
            take("compression", None) or conf.task_compression,
            dump_models=dump_models,
        )
        if body.compression:
            headers["compression"] = body.compression
        retry = take("retry", None)
        policy = {
            **conf.task_publish_retry_policy,
            **(take("retry_policy", None) or {}),
        }
        return Blueprint(
            headers=headers,
            properties=properties,
            exchange=destination.exchange,
            routing_key=destination.routing_key,
            declare=destination.declare,
            # As in Celery, None if a task says nothing, and 0 if there is no task.
            priority=take("priority", 0),
            delivery_mode=mode_of(
                destination.delivery_mode or conf.task_default_delivery_mode
            ),
            mandatory=take("mandatory", None),
            immediate=bool(take("immediate", None)),
            retry=conf.task_publish_retry if retry is None else retry,
            retry_policy=policy,
            timeout=take("timeout", None),
            confirm_timeout=take("confirm_timeout", None),
            body=body,
            ignored=ignored,
            reusable=reusable,
            timed=timed,
        )


def _name(reply_to: Any) -> Any:
    """Return the name of a queue, which may be given as a `Queue`."""
    return reply_to.name if isinstance(reply_to, Queue) else reply_to


def _stamp(options: dict[str, Any], name: str) -> Any:
    try:
        return options.pop(name)
    except KeyError:
        msg = f"stamped_headers names {name!r}, but there is no such option"
        raise SettingError(msg, name=name) from None
