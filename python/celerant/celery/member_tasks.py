"""The tasks of a group's members, and whether a volley may have them."""

from __future__ import annotations

import inspect
from typing import Any

from celery._state import get_current_app

from celerant.celery.adapters import is_tracer
from celerant.celery.eligibility import of_task
from celerant.celery.functions import actual
from celerant.celery.signals import receivers

__all__ = ["MemberChain", "MemberTask", "MemberTasks"]


class MemberTask:
    """A task of some members, as they are sent."""

    __slots__ = ("app", "name", "reason", "task")

    def __init__(self, app: Any, name: str, task: Any, reason: str | None) -> None:
        self.app = app
        self.name = name
        #: None if the app does not know it.
        self.task = task
        #: The reason why its members take Celery's own path; None: they do not.
        self.reason = reason

    def result(self, task_id: str) -> Any:
        """Return the `AsyncResult` of a member."""
        owner = self.app if self.task is None else self.task
        return owner.AsyncResult(task_id)


class MemberChain:
    """The tasks of a chain, from the first to the last."""

    __slots__ = ("_steps", "name", "reason")

    def __init__(self, steps: list[MemberTask]) -> None:
        self._steps = steps
        #: The name of the task that leaves.
        self.name = steps[0].name
        reasons = (task.reason for task in steps)
        self.reason: str | None = next(filter(None, reasons), None)

    def result(self, form: Any) -> Any:
        """Return the `AsyncResult` of the last step; the others are its parents.

        Args:
            form: As Celery's `as_tuple`.
        """
        ids = []
        while form is not None:
            (task_id, form), _ = form
            ids.append(task_id)
        result = None
        for task, task_id in zip(self._steps, reversed(ids), strict=True):
            followed, result = result, task.result(task_id)
            result.parent = followed
        return result


class MemberTasks:
    """The tasks and chains of one group's members."""

    def __init__(self, app: Any) -> None:
        self._app = app
        #: By name, and the task and app that a signature keeps, by identity.
        self._found: dict[tuple[str, int, int], MemberTask] = {}
        self._sent: dict[str, Any] = {}
        #: By the identities of their steps.
        self._chains: dict[tuple[int, ...], MemberChain] = {}
        self._heard: set[str] = set()

    def of(self, signature: Any) -> MemberTask:
        """Return the task of a Celery signature."""
        return self._task_of(signature["task"], signature._type, signature._app)  # noqa: SLF001 - Celery has no public ones

    def of_chain(self, chain: Any) -> MemberChain:
        """Return the chain of a Celery chain whose steps are all signatures."""
        tasks, app = chain["kwargs"]["tasks"], chain._app  # noqa: SLF001 - Celery has no public one
        if app is not None:
            for task in tasks:
                task._app = app  # noqa: SLF001 - as in a copy of the chain
        steps = [self.of(task) for task in tasks]
        key = tuple(map(id, steps))
        found = self._chains.get(key)
        if found is None:
            found = self._chains[key] = MemberChain(steps)
        return found

    def task(self, name: str) -> Any:
        """Return the task that is sent under a name; None if there is none."""
        return self._sent[name]

    def are_heard(self) -> bool:
        """Whether some task has receivers that hear of each message."""
        return bool(self._heard)

    def is_heard(self, name: str) -> bool:
        """Whether this task has receivers that hear of each message."""
        return name in self._heard

    def parameters(self, name: str) -> Any:
        """Return the `inspect.Signature` that arguments must fit, if there is one."""
        task = self._sent[name]
        if task is None or not task.typing or not hasattr(task, "__header__"):
            return None
        # Celery checks the parameters of the function itself, not of the wrapped one.
        return inspect.signature(task.run, follow_wrapped=False)

    def _task_of(self, name: str, task: Any, app: Any) -> MemberTask:
        key = (name, id(task), id(app))
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._look(name, task, app)
            if found.reason is None:
                self._sent[name] = found.task
                if not all(map(is_tracer, receivers(name))):
                    self._heard.add(name)
        return found

    def _look(self, name: str, task: Any, app: Any) -> MemberTask:
        ours = self._app
        if task is None:
            app = actual(get_current_app() if app is None else app)
            if app is not ours:
                return MemberTask(ours, name, None, f"{name} is a task of another app")
            task = ours.tasks.get(name)
        elif ours.tasks.get(name) is not task:
            return MemberTask(ours, name, task, f"{name} is not the task of that name")
        return MemberTask(ours, name, task, of_task(ours, name, task))
