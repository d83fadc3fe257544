"""Celery's messages, made by Celery itself with slots at the fields that differ.

One member for each task and options goes through Celery's own code, from
`Signature.apply_async` to the call of `Producer.publish`, with slots for its id, its
position and its arguments. The message that arrives there serves all such members.
"""

from __future__ import annotations

import contextvars
from collections.abc import Hashable, Mapping
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import celery
from celery import canvas
from celery.app import amqp as celery_amqp
from celery.app import routes as celery_routes

from celerant.celery.adapters import Spans
from celerant.celery.hearing import Heard
from celerant.celery.member_tasks import MemberTasks
from celerant.celery.recording import Recorder, blueprint_of
from celerant.celery.signals import retold
from celerant.dispatch.envelope import SLOTS, Blueprint

__all__ = ["CeleryBlueprints"]

#: Slots that `send_task` passes on among the properties, if Celery has none.
_REPRS = ("argsrepr", "kwargsrepr")


class CeleryBlueprints:
    """Draws the messages of one group of a Celery app; see `Drawer`.

    Args:
        app: The Celery app.
        member_tasks: Its tasks, as the group's members have them.
        options: The call's, with the group's id; None if members have these already.
        spans: Those of receivers that are tracers.
    """

    def __init__(
        self,
        app: Any,
        member_tasks: MemberTasks,
        options: Mapping[str, Any] | None,
        spans: Spans,
    ) -> None:
        self._app = app
        self._member_tasks = member_tasks
        self._options = dict(options or {})
        #: Whether each member has a position of its own in the group.
        self._is_placed = options is not None
        self._spans = spans
        #: Exchange and routing key of all messages that were drawn.
        self.routes: set[tuple[str, str]] = set()
        routes = app.amqp.router.routes or ()
        self._routes_by_name = all(
            type(route) is celery_routes.MapRoute for route in routes
        )

    def bare(self, *, is_placed: bool) -> CeleryBlueprints:
        """Return the same for the messages of chains."""
        found = CeleryBlueprints(self._app, self._member_tasks, None, self._spans)
        found._is_placed = is_placed
        found.routes = self.routes
        return found

    def reply_to(self) -> str:
        """Return the reply queue for results."""
        return str(self._app.thread_oid)

    @property
    def call(self) -> dict[str, Any]:
        """The options of the call, with the group's id."""
        return self._options

    def parameters(self, name: str) -> Any:
        """Return the `inspect.Signature` that arguments must fit, if there is one."""
        return self._member_tasks.parameters(name)

    def key(self, name: str, own: Mapping[str, Any]) -> Hashable | None:  # noqa: ARG002 - the protocol's
        """Return None: all messages tell the group's id, so none serves another."""
        return None

    def draw(
        self, name: str, own: Mapping[str, Any], args: Any, kwargs: Any
    ) -> Blueprint:
        """Let Celery make the message of a member; see `Drawer.draw`."""
        recorder = Recorder()
        silent = _SilentApp(self._app, recorder)
        signature = canvas.Signature(name, args, kwargs, _kept(own), app=self._app)
        task = self._member_tasks.task(name)
        # A signature keeps its looked-up objects there.
        vars(signature)["_apply_async"] = (
            partial(silent.send_task, name)
            if task is None
            else partial(celery.Task.apply_async, _SilentTask(task, silent))
        )
        options = {
            **_kept(self._options),
            "task_id": SLOTS["id"],
            "argsrepr": SLOTS["argsrepr"],
            "kwargsrepr": SLOTS["kwargsrepr"],
            "producer": recorder,
            "add_to_parent": False,
        }
        if self._is_placed:
            options["group_index"] = SLOTS["group_index"]
        _alone(partial(signature.apply_async, **options))
        for slot in _REPRS:
            recorder.fields.pop(slot, None)
            recorder.told["properties"].pop(slot, None)
        is_heard = self._member_tasks.is_heard(name)
        if not is_heard:
            self._spans.drawn(name, recorder.told)
        blueprint = blueprint_of(recorder.body, recorder.fields)
        self.routes.add((blueprint.exchange, blueprint.routing_key))
        call = signature._merge(options=self._options)[2]  # noqa: SLF001 - Celery has no public one
        times = ("countdown", "eta", "expires")
        return replace(
            blueprint,
            reusable=self._routes_by_name,
            timed=any(call.get(name) is not None for name in times)
            or (task is not None and getattr(task, "expires", None) is not None),
            heard=Heard(recorder, blueprint) if is_heard else None,
        )


def _alone(work: Any) -> None:
    """Call `work` as if no worker sent callbacks: publishing is ours to retry."""
    flag = getattr(celery_amqp, "_callback_publish_retry", None)
    context = contextvars.copy_context()
    if flag is not None:
        context.run(flag.set, False)  # noqa: FBT003 - the variable's value
    context.run(work)


def _kept(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options whose headers may be changed: Sentry takes out its own."""
    headers = options.get("headers")
    if not isinstance(headers, dict):
        return dict(options)
    kept = {k: dict(v) if type(v) is dict else v for k, v in headers.items()}
    return {**options, "headers": kept}


class _Silent:
    """An object of Celery's, with some attributes replaced here."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _SilentAMQP(_Silent):
    """An app's `amqp` that calls a recorder instead of receivers."""

    def __init__(self, original: Any, recorder: Recorder) -> None:
        super().__init__(original)
        self.send_task_message = retold(original.send_task_message, recorder.hear)


class _SilentApp(_Silent):
    """An app whose tasks go to a recorder alone, and have no results."""

    backend = SimpleNamespace(on_task_call=lambda _producer, _task_id: None)

    def __init__(self, original: Any, recorder: Recorder) -> None:
        super().__init__(original)
        self.amqp = _SilentAMQP(original.amqp, recorder)

    def send_task(self, *args: Any, **kwargs: Any) -> Any:
        # Without wrappers, earlier and later ones.
        return celery.Celery.send_task(self, *args, **kwargs)

    @staticmethod
    def AsyncResult(task_id: str) -> Any:  # noqa: N802 - Celery's name
        return SimpleNamespace(id=task_id)


class _SilentTask(_Silent):
    """A task that sends through a silent app; the core has checked its arguments."""

    typing = False

    def __init__(self, original: Any, app: _SilentApp) -> None:
        super().__init__(original)
        self._app = app

    @property  # type: ignore[misc] # it is never set
    def __class__(self) -> Any:
        # Sentry asks whether it is a task, and then for its name.
        return type(self._original)

    def _get_app(self) -> _SilentApp:
        return self._app

    @staticmethod
    def AsyncResult(task_id: str) -> Any:  # noqa: N802 - Celery's name
        return SimpleNamespace(id=task_id)
