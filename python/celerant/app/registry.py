"""The tasks of an app: made by `task`, found by name, imported for workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    TypeVar,
    overload,
)

from celerant.app.discovery import Discovery, Packages
from celerant.common.receivers import tell
from celerant.context.apps import share
from celerant.tasks.annotations import check_annotations
from celerant.tasks.builtins import builtin_tasks
from celerant.tasks.making import (
    adopt,
    base_of,
    make_task,
    name_of,
    rebase,
    settle,
)
from celerant.tasks.registry import Registry
from celerant.tasks.task import Task as RegisteredTask

if TYPE_CHECKING:
    from celerant.config import Settings

__all__ = ["TaskRegistry"]

P = ParamSpec("P")
R = TypeVar("R")


class TaskRegistry:
    """The part of `Celerant` that knows its tasks."""

    name: str
    conf: Settings

    @property
    def _whole(self) -> Any:
        # Only apps have this part.
        return self

    def _fill_registry(self) -> None:
        """Begin with the tasks that every app has."""
        self._tasks = Registry(self._whole, builtin_tasks(self._whole))
        #: Those whose base is the app's `Task`.
        self._without_base: list[RegisteredTask[Any, Any]] = []
        self._discovery = Discovery()
        self.conf.on_change(self._annotate_tasks)

    @overload
    def task(self, function: Callable[P, R], /) -> RegisteredTask[P, R]: ...
    @overload
    def task(
        self,
        function: None = None,
        /,
        *,
        name: str | None = ...,
        bind: Literal[False] = ...,
        **options: Any,
    ) -> Callable[[Callable[P, R]], RegisteredTask[P, R]]: ...
    @overload
    def task(
        self,
        function: None = None,
        /,
        *,
        name: str | None = ...,
        bind: Literal[True],
        **options: Any,
    ) -> Callable[[Callable[Concatenate[Any, P], R]], RegisteredTask[P, R]]: ...
    def task(  # noqa: PLR0913 - Celery's
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        bind: bool = False,
        base: type[RegisteredTask[Any, Any]] | None = None,
        pydantic: bool = False,
        shared: bool = False,
        lazy: bool = True,  # noqa: ARG002 - a task is made at once in any case
        filter: Callable[[RegisteredTask[Any, Any]], Any] | None = None,  # noqa: A002 - Celery's name
        **options: Any,
    ) -> Any:
        """Register a function as a task; use as ``@app.task`` or ``@app.task(...)``.

        If another task has the name already, that one is returned, with a
        `DuplicateTaskNameWarning`.

        Args:
            name: By default the function's module and name.
            bind: Pass the task itself as first argument.
            base: A class derived from `celerant.Task`; by default the app's `Task`.
            pydantic: Make arguments the models they are annotated with, and write a
                returned model as plain data.
            shared: Give the task to every app, as `shared_task` does.
            lazy: Ignored.
            filter: Called with the task; its return value replaces the task.
            options: Celery's names: `queue`, `serializer`, `ignore_result`, ...; other
                names are attributes of the task.
        Raises:
            SettingError: A value that an option cannot have, or a name that is most
                likely a misspelt option.
        """

        def register(function: Callable[..., Any]) -> Any:
            module = getattr(function, "__module__", None) or type(function).__module__
            own = name or self.gen_task_name(name_of(function), module)
            made = self._tasks.first_of(own, function)
            if made is None:
                made = make_task(
                    self._whole,
                    function,
                    name=own,
                    bind=bind,
                    base=base or self.Task,
                    pydantic=pydantic,
                    options=options,
                )
                self._tasks[own] = made
                if base is None:
                    self._without_base.append(made)
            if shared:

                def decorate(app: Any) -> None:
                    app.task(
                        name=own, bind=bind, base=base, pydantic=pydantic, **options
                    )(function)

                share(own, partial(_add_shared, name=own, decorate=decorate))
            return made if filter is None else filter(made)

        return register if function is None else register(function)

    def register_task(self, task: Any) -> RegisteredTask[Any, Any]:
        """Register an instance of a class derived from `celerant.Task`, or the class.

        It is called by its method `run`, and by its attribute `name`, else by the names
        of its class and module. It replaces a task of the same name, with a
        `DuplicateTaskNameWarning`.

        Raises:
            SettingError: It is no task, or has an option that no task can have.
        """
        made = adopt(self._whole, task)
        self._tasks.replace(made)
        return made

    def _annotate_tasks(self, changed: Iterable[str]) -> None:
        if "task_annotations" in changed:
            check_annotations(self.conf.task_annotations)
            for task in list(self._tasks.values()):
                settle(task)

    @property
    def Task(self) -> type[RegisteredTask[Any, Any]]:  # noqa: N802 - Celery's name
        """The base of tasks without a `base` of their own, made before or after.

        It can be set, best before a worker runs. The tasks stay the same objects.

        Raises:
            SettingError: The value is not a class derived from `celerant.Task`.
        """
        return self._task_class

    @Task.setter
    def Task(self, cls: type[RegisteredTask[Any, Any]]) -> None:  # noqa: N802 - the same
        self._task_class = base_of("tasks", cls)
        for task in vars(self).get("_without_base", ()):
            rebase(task, cls)

    def gen_task_name(self, name: str, module: str) -> str:
        """Return the name of a task without a given name."""
        # A script and its copy in a spawned process are one module.
        if module in {"__main__", "__mp_main__"}:
            module = self.name
        return f"{module}.{name}"

    @property
    def tasks(self) -> Registry:
        """Registered tasks by name."""
        return self._tasks

    def autodiscover_tasks(
        self,
        packages: Packages = None,
        related_name: str | None = "tasks",
        force: bool = False,  # noqa: FBT001, FBT002 - Celery's order
    ) -> None:
        """Let workers import the modules named `related_name` of packages.

        Args:
            packages: Names, or a function that returns them; by default Django's apps.
            related_name: The module's name inside a package; None: the package.
            force: Import them now, and not only when a worker needs the tasks.
        """
        self._discovery.add(packages, related_name)
        if force:
            self.import_tasks()

    def import_tasks(self) -> None:
        """Import the modules of ``imports``, ``include`` and `autodiscover_tasks`.

        Workers call it; call it yourself to know all tasks. Sets Django up first if
        ``DJANGO_SETTINGS_MODULE`` is set.
        """
        tell("import_modules", self)
        self._discovery.run(self.conf)


def _add_shared(app: Any, name: str, decorate: Callable[[Any], Any]) -> None:
    """Add a task that another app has made for all of them."""
    if name not in app.tasks:
        decorate(app)
