"""Django's own tasks (``django.tasks``, or the ``django-tasks`` backport) by Celerant.

In the project's settings::

    TASKS = {"default": {"BACKEND": "celerant.django.tasks.CelerantBackend"}}

Each task of Django's is a task of the app under its module's path, so routes, workers
and monitors know it by that name.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.utils import timezone
from django.utils.module_loading import import_string

from celerant.canvas.group import group
from celerant.context.apps import current_app
from celerant.context.request import current_request
from celerant.errors import SettingError

try:
    from django.tasks import TaskContext, TaskResult, TaskResultStatus
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task, TaskError
    from django.tasks.exceptions import TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started
    from django.utils.json import normalize_json
except ImportError:  # before Django 6
    from django_tasks import TaskContext, TaskResult, TaskResultStatus
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.base import Task, TaskError
    from django_tasks.exceptions import TaskResultDoesNotExist
    from django_tasks.signals import task_enqueued, task_finished, task_started
    from django_tasks.utils import normalize_json

if TYPE_CHECKING:
    from celerant.context.host import App

__all__ = ["CelerantBackend", "enqueue_many"]

_OPTIONS = ("app", "on_commit")
_DEFAULT_QUEUE = "default"
#: Results of an app in memory that this process remembers, the oldest ones go first.
_KEPT = 100_000
_NOTE = "django-"


def enqueue_many(task: Any, rows: Iterable[Any]) -> list[Any]:
    """Enqueue a task once for each row, all in one volley; return their results.

    Args:
        task: A task of Django's, whose backend is `CelerantBackend`.
        rows: For each its arguments: a tuple or list of positional ones, or a dict of
            keywords.

    Raises:
        PublishError: The broker refused or vanished; ``exc.report`` says what is in.
    """
    backend = task.get_backend()
    if not isinstance(backend, CelerantBackend):
        msg = (
            f"TASKS[{task.backend!r}] is no CelerantBackend but a "
            f"{type(backend).__name__}; enqueue its tasks one by one"
        )
        raise SettingError(msg, name="TASKS")
    return backend.enqueue_many(task, rows)


class CelerantBackend(BaseTaskBackend):  # type: ignore[misc]  # Django ships no types
    """Enqueues Django's tasks by Celerant.

    ``OPTIONS``: `app`, module and name of the Celerant app, as
    ``"mysite.celerant:app"`` (by default the one made last), and `on_commit` (True:
    tasks leave when the database transaction commits, and not after a rollback).

    ``QUEUES``: Django's names; ``"default"`` is the app's own default queue.

    A result can be read in any process where the app's result store is shared; on
    ``memory://`` in this one.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        for name in self.options:
            if name not in _OPTIONS:
                msg = (
                    f"TASKS[{alias!r}]['OPTIONS'] has no {name!r}; there are "
                    f"{', '.join(_OPTIONS)}"
                )
                raise SettingError(msg, name="TASKS")
        #: Notes of what was enqueued here, where the store keeps none.
        self._notes: OrderedDict[str, str] = OrderedDict()

    @property
    def app(self) -> App:
        """The Celerant app."""
        path = self.options.get("app")
        if path is None:
            return current_app()
        found: App = import_string(path.replace(":", "."))
        return found

    def validate_task(self, task: Any) -> None:
        """Refuse a task that cannot run, and make it known to workers."""
        super().validate_task(task)
        app, name = self.app, task.module_path
        if name not in app.tasks:
            app.task(name=name, bind=True)(_Runner(task, type(self)))  # type: ignore[attr-defined]  # the whole app

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Send one task; see ``Task.enqueue``."""
        self.validate_task(task)
        signature = self._signature(task, list(args), dict(kwargs))
        result = self._send(signature)
        return self._enqueued([(result.id, task, list(args), dict(kwargs))])[0]

    def enqueue_many(self, task: Any, rows: Iterable[Any]) -> list[Any]:
        """Send a task once for each row, in one volley; see `enqueue_many`."""
        self.validate_task(task)
        calls = [
            ([], dict(row)) if isinstance(row, Mapping) else (list(row), {})
            for row in rows
        ]
        result = self._send(group([self._signature(task, *call) for call in calls]))
        ids = result.roster.ids(0, len(calls))
        return self._enqueued(
            [(task_id, task, *call) for task_id, call in zip(ids, calls, strict=True)]
        )

    def _signature(self, task: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        options: dict[str, Any] = {}
        if task.queue_name != _DEFAULT_QUEUE:
            options["queue"] = task.queue_name
        if task.run_after is not None:
            options["eta"] = task.run_after
        registered: Any = self.app.tasks[task.module_path]
        return registered.signature(
            tuple(normalize_json(args)), normalize_json(kwargs), **options
        )

    def _send(self, canvas: Any) -> Any:
        if self.options.get("on_commit"):
            return canvas.apply_async_on_commit()
        return canvas.apply_async()

    def _enqueued(
        self, calls: list[tuple[str, Any, list[Any], dict[str, Any]]]
    ) -> list[Any]:
        now = timezone.now()
        made, notes = [], {}
        for task_id, task, args, kwargs in calls:
            made.append(
                TaskResult(
                    task=task,
                    id=task_id,
                    status=TaskResultStatus.READY,
                    enqueued_at=now,
                    started_at=None,
                    finished_at=None,
                    last_attempted_at=None,
                    args=args,
                    kwargs=kwargs,
                    backend=self.alias,
                    errors=[],
                    worker_ids=[],
                )
            )
            notes[task_id] = json.dumps(
                {
                    "task": task.module_path,
                    "queue_name": task.queue_name,
                    "args": made[-1].args,
                    "kwargs": made[-1].kwargs,
                    "enqueued_at": now.isoformat(),
                }
            )
        self._note(notes)
        for result in made:
            task_enqueued.send(type(self), task_result=result)
        return made

    def _note(self, notes: dict[str, str]) -> None:
        backend = self.app.backend
        if backend.supports_handles:
            named = {f"{_NOTE}{id_}": note.encode() for id_, note in notes.items()}
            backend.put_asides(named)
            return
        self._notes.update(notes)
        while len(self._notes) > _KEPT:
            self._notes.popitem(last=False)

    def get_result(self, result_id: str) -> Any:
        """Return what is known of a task that this backend enqueued.

        Raises:
            TaskResultDoesNotExist: Nothing is.
        """
        backend = self.app.backend
        note: bytes | str | None = (
            backend.take_aside(f"{_NOTE}{result_id}")
            if backend.supports_handles
            else self._notes.get(result_id)
        )
        if note is None:
            raise TaskResultDoesNotExist(result_id)
        noted = json.loads(note)
        task = import_string(noted["task"])
        if not isinstance(task, Task):
            raise TaskResultDoesNotExist(result_id)
        if task.queue_name != noted["queue_name"]:
            task = task.using(queue_name=noted["queue_name"])
        record = backend.decode(backend.read(result_id))
        state = record.get("status")
        value, run = record.get("result"), {}
        if state == "SUCCESS" and isinstance(value, dict):
            run = value
        status = _STATUSES.get(str(state), TaskResultStatus.READY)
        began, ended = run.get("started_at"), _moment(record.get("date_done"))
        is_over = status in {TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED}
        is_failed = status == TaskResultStatus.FAILED
        result = TaskResult(
            task=task,
            id=result_id,
            status=status,
            enqueued_at=_moment(noted["enqueued_at"]),
            started_at=_moment(began),
            finished_at=ended if is_over else None,
            last_attempted_at=_moment(began),
            args=noted["args"],
            kwargs=noted["kwargs"],
            backend=self.alias,
            errors=[_error(record)] if is_failed else [],
            worker_ids=[run["worker"]] if run.get("worker") else [],
        )
        # The class takes no value: it comes with the end.
        object.__setattr__(result, "_return_value", run.get("value"))
        return result


_STATUSES = {
    "STARTED": TaskResultStatus.RUNNING,
    "SUCCESS": TaskResultStatus.SUCCESSFUL,
    "FAILURE": TaskResultStatus.FAILED,
    "REVOKED": TaskResultStatus.FAILED,
}


def _error(record: Mapping[str, Any]) -> Any:
    raised = record.get("result")
    told = raised if isinstance(raised, Mapping) else {}
    module, name = told.get("exc_module"), told.get("exc_type", "Exception")
    return TaskError(
        exception_class_path=f"{module or 'builtins'}.{name}",
        traceback=str(record.get("traceback") or ""),
    )


def _moment(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    moment = datetime.fromisoformat(text)
    if timezone.is_naive(moment):
        moment = timezone.make_aware(moment, timezone.get_default_timezone())
    return moment


class _Runner:
    """The function of a task of the app, which runs a task of Django's."""

    def __init__(self, task: Any, sender: type[CelerantBackend]) -> None:
        self._task = task
        self._sender = sender
        self.__name__ = task.name
        self.__module__ = task.func.__module__
        self.__doc__ = task.func.__doc__

    def __call__(self, _bound: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        task, request, now = self._task, current_request.get(), timezone.now()
        worker = "" if request is None else str(request.hostname or "")
        result = TaskResult(
            task=task,
            id="" if request is None else request.id,
            status=TaskResultStatus.RUNNING,
            enqueued_at=None,
            started_at=now,
            finished_at=None,
            last_attempted_at=now,
            args=list(args),
            kwargs=dict(kwargs),
            backend=task.backend,
            errors=[],
            worker_ids=[worker],
        )
        task_started.send(sender=self._sender, task_result=result)
        given = (TaskContext(task_result=result), *args) if task.takes_context else args
        try:
            value = normalize_json(task.call(*given, **kwargs))
        except BaseException:
            self._end(result, TaskResultStatus.FAILED)
            raise
        object.__setattr__(result, "_return_value", value)
        self._end(result, TaskResultStatus.SUCCESSFUL)
        return {"value": value, "started_at": now.isoformat(), "worker": worker}

    def _end(self, result: Any, status: Any) -> None:
        object.__setattr__(result, "finished_at", timezone.now())
        object.__setattr__(result, "status", status)
        task_finished.send(sender=self._sender, task_result=result)
