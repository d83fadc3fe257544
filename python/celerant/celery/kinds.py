"""The tasks of a group's members: which may be sent in a volley."""

from __future__ import annotations

import inspect
from typing import Any

from celery._state import get_current_app

from celerant.celery.adapters import is_tracer
from celerant.celery.eligibility import of_task
from celerant.celery.functions import actual
from celerant.celery.signals import receivers

__all__ = ["Chained", "Kind", "Kinds"]


class Kind:
    """One task, as members refer to it."""

    __slots__ = ("app", "name", "reason", "task")

    def __init__(self, app: Any, name: str, task: Any, reason: str | None) -> None:
        self.app = app
        self.name = name
        #: None if the app does not know it.
        self.task = task
        #: Why its members take Celery's own path; None: they need not.
        self.reason = reason

    def result(self, task_id: str) -> Any:
        """Return the `AsyncResult` of a member."""
        owner = self.app if self.task is None else self.task
        return owner.AsyncResult(task_id)


class Chained:
    """The tasks of a chain, from the first to the last."""

    __slots__ = ("_steps", "name", "reason")

    def __init__(self, steps: list[Kind]) -> None:
        self._steps = steps
        #: Of the task that leaves.
        self.name = steps[0].name
        reasons = (kind.reason for kind in steps)
        self.reason: str | None = next(filter(None, reasons), None)

    def result(self, form: Any) -> Any:
        """Return the `AsyncResult` of the last step, which follows the others'.

        Args:
            form: The same as Celery's `as_tuple`.
        """
        ids = []
        while form is not None:
            (task_id, form), _ = form
            ids.append(task_id)
        result = None
        for kind, task_id in zip(self._steps, reversed(ids), strict=True):
            followed, result = result, kind.result(task_id)
            result.parent = followed
        return result


class Kinds:
    """The kinds of one group."""

    def __init__(self, app: Any) -> None:
        self._app = app
        #: By name, and the task and app that a signature keeps, by identity.
        self._found: dict[tuple[str, int, int], Kind] = {}
        self._sent: dict[str, Any] = {}
        #: By the identities of the kinds.
        self._chains: dict[tuple[int, ...], Chained] = {}
        self._heard: set[str] = set()

    def of(self, signature: Any) -> Kind:
        """Return the kind of a Celery signature."""
        return self._kind(signature["task"], signature._type, signature._app)  # noqa: SLF001 - Celery has no public ones

    def of_chain(self, chain: Any) -> Chained:
        """Return the kind of a chain of Celery's, all of whose steps are signatures."""
        tasks, app = chain["kwargs"]["tasks"], chain._app  # noqa: SLF001 - Celery has no public one
        if app is not None:
            for task in tasks:
                task._app = app  # noqa: SLF001 - as in a copy of the chain
        steps = [self.of(task) for task in tasks]
        key = tuple(map(id, steps))
        found = self._chains.get(key)
        if found is None:
            found = self._chains[key] = Chained(steps)
        return found

    def task(self, name: str) -> Any:
        """Return the task that is sent under a name; None if there is none."""
        return self._sent[name]

    def are_heard(self) -> bool:
        """Whether receivers of signals hear of each message of some task."""
        return bool(self._heard)

    def is_heard(self, name: str) -> bool:
        """Whether they hear of each message of this task."""
        return name in self._heard

    def parameters(self, name: str) -> Any:
        """Return the `inspect.Signature` that arguments must fit, if there is one."""
        task = self._sent[name]
        if task is None or not task.typing or not hasattr(task, "__header__"):
            return None
        # Celery checks the parameters of the function itself, not of the wrapped one.
        return inspect.signature(task.run, follow_wrapped=False)

    def _kind(self, name: str, task: Any, app: Any) -> Kind:
        key = (name, id(task), id(app))
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = self._look(name, task, app)
            if found.reason is None:
                self._sent[name] = found.task
                if not all(map(is_tracer, receivers(name))):
                    self._heard.add(name)
        return found

    def _look(self, name: str, task: Any, app: Any) -> Kind:
        ours = self._app
        if task is None:
            app = actual(get_current_app() if app is None else app)
            if app is not ours:
                return Kind(ours, name, None, f"{name} is a task of another app")
            task = ours.tasks.get(name)
        elif ours.tasks.get(name) is not task:
            return Kind(ours, name, task, f"{name} is not the task of that name")
        return Kind(ours, name, task, of_task(ours, name, task))
