"""Messages of Celery's, drawn by Celery itself with slots where members differ.

One member of each kind goes through Celery's own code, from `Signature.apply_async` to
the call of `Producer.publish`, with slots for its id, its place and its arguments. What
arrives there is the message of all members of that kind.
"""

from __future__ import annotations

import contextvars
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import celery
from celery import canvas
from celery.app import amqp as celery_amqp
from celery.app import routes as celery_routes
from kombu import Exchange
from kombu.entity import maybe_delivery_mode

from celerant.celery.kinds import Kinds
from celerant.dispatch.blueprints import Blueprints, Drawn
from celerant.dispatch.envelope import SLOTS, Blueprint, BodyEncoder

__all__ = ["CeleryBlueprints"]

#: Slots that `send_task` passes on among the properties, where Celery has none.
_REPRS = ("argsrepr", "kwargsrepr")


class CeleryBlueprints(Blueprints):
    """Draws the messages of one group of a Celery app.

    Args:
        app: The Celery app.
        kinds: Its tasks, as the group's members have them.
        options: Of the call, with the group's id; None where members have all of that.
    """

    def __init__(
        self, app: Any, kinds: Kinds, options: Mapping[str, Any] | None
    ) -> None:
        # Nothing of the base class's own: all that it answers is answered by Celery.
        self._app = app
        self._kinds = kinds
        self._options = dict(options or {})
        self._is_bare = options is None
        self._silent = _SilentApp(app)
        routes = app.amqp.router.routes or ()
        self._routes_by_name = all(
            type(route) is celery_routes.MapRoute for route in routes
        )

    def bare(self) -> Blueprints:
        """Return the same for what chains became."""
        return CeleryBlueprints(self._app, self._kinds, None)

    def reply_to(self) -> str:
        """Return where results go that somebody waits for."""
        return str(self._app.thread_oid)

    @property
    def call(self) -> dict[str, Any]:
        """The options of the call, with the group's id."""
        return self._options

    def parameters(self, name: str) -> Any:
        """Return the `inspect.Signature` that arguments must fit, if there is one."""
        return self._kinds.parameters(name)

    def key(self, name: str, own: Mapping[str, Any]) -> Hashable | None:  # noqa: ARG002 - the base class's
        """Return None: all messages tell the group's id, so none serves another."""
        return None

    def draw(self, name: str, own: Mapping[str, Any], args: Any, kwargs: Any) -> Drawn:
        """Let Celery make the message of a member; see `Blueprints.draw`."""
        recorder = _Recorder()
        signature = canvas.Signature(name, args, kwargs, dict(own), app=self._app)
        task = self._kinds.task(name)
        # Where a signature keeps what it has looked up.
        vars(signature)["_apply_async"] = (
            partial(self._silent.send_task, name)
            if task is None
            else partial(celery.Task.apply_async, _SilentTask(task, self._silent))
        )
        options = {
            **self._options,
            "task_id": SLOTS["id"],
            "argsrepr": SLOTS["argsrepr"],
            "kwargsrepr": SLOTS["kwargsrepr"],
            "producer": recorder,
            "add_to_parent": False,
        }
        if not self._is_bare:
            options["group_index"] = SLOTS["group_index"]
        _alone(partial(signature.apply_async, **options))
        call = signature._merge(options=self._options)[2]  # noqa: SLF001 - Celery has no public one
        times = ("countdown", "eta", "expires")
        return Drawn(
            _blueprint(recorder),
            ignored=False,
            reusable=self._routes_by_name,
            timed=any(call.get(name) is not None for name in times)
            or (task is not None and getattr(task, "expires", None) is not None),
        )


def _alone(work: Any) -> None:
    """Call `work` as if no worker sent callbacks: publishing is ours to retry."""
    flag = getattr(celery_amqp, "_callback_publish_retry", None)
    context = contextvars.copy_context()
    if flag is not None:
        context.run(flag.set, False)  # noqa: FBT003 - the variable's value
    context.run(work)


def _blueprint(recorder: _Recorder) -> Blueprint:
    """Return what `Producer.publish` of kombu 5.7.0 would make of its arguments."""
    fields = recorder.fields
    take = fields.pop
    for name in _REPRS:
        take(name, None)
    exchange, delivery_mode = take("exchange"), take("delivery_mode")
    if isinstance(exchange, Exchange):
        delivery_mode = delivery_mode or exchange.delivery_mode
        exchange = exchange.name
    headers = take("headers")
    body = BodyEncoder(recorder.body[2], take("serializer"), take("compression"))
    if body.compression:
        headers["compression"] = body.compression
    expiration = take("expiration", None)
    blueprint = Blueprint(
        headers=headers,
        properties={},
        exchange=exchange,
        routing_key=take("routing_key"),
        declare=tuple(take("declare") or ()),
        priority=take("priority", 0),
        delivery_mode=maybe_delivery_mode(delivery_mode),
        # As Celery, where nobody asks for it: what no queue wants is dropped.
        mandatory=bool(take("mandatory", None)),
        immediate=bool(take("immediate", None)),
        retry=take("retry"),
        retry_policy=take("retry_policy"),
        timeout=take("timeout"),
        confirm_timeout=take("confirm_timeout"),
        body=body,
    )
    blueprint.properties.update(fields)
    if expiration is not None:
        blueprint.properties["expiration"] = str(int(expiration * 1000))
    return blueprint


class _Recorder:
    """Stands in for a producer and keeps what it should publish."""

    def __init__(self) -> None:
        self.body: Any = None
        self.fields: dict[str, Any] = {}
        self.connection = self

    @contextmanager
    def _reraise_as_library_errors(self) -> Iterator[None]:
        # `send_task` enters this of a producer's connection.
        yield

    def publish(self, body: Any, **fields: Any) -> None:
        self.body, self.fields = body, fields


class _Silent:
    """A thing of Celery's, but for what is set here."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _SilentApp(_Silent):
    """An app that tells no result backend of its tasks and makes no results."""

    backend = SimpleNamespace(on_task_call=lambda _producer, _task_id: None)
    send_task = celery.Celery.send_task

    @staticmethod
    def AsyncResult(task_id: str) -> Any:  # noqa: N802 - Celery's name
        return SimpleNamespace(id=task_id)


class _SilentTask(_Silent):
    """A task that sends through a silent app; the core has checked its arguments."""

    typing = False

    def __init__(self, original: Any, app: _SilentApp) -> None:
        super().__init__(original)
        self._app = app

    def _get_app(self) -> _SilentApp:
        return self._app

    @staticmethod
    def AsyncResult(task_id: str) -> Any:  # noqa: N802 - Celery's name
        return SimpleNamespace(id=task_id)
