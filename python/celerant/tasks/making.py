"""Make a task of a function, or of an instance of a class of the user's own.

Each task has a class of its own, derived from its ``base``: options are attributes of
it, and a function given for a hook is its method.
Source: ``Celery._task_from_fun`` and ``Task.bind`` of celery 5.7.0.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celerant.errors import SettingError
from celerant.tasks.annotations import annotate
from celerant.tasks.group_results import WithResults, is_first, parameters_of
from celerant.tasks.models import WithModels
from celerant.tasks.options import HOOKS, OPTIONS, check_task_options
from celerant.tasks.parameters import parameters_of_call
from celerant.tasks.retry import check_retry_options, retry_automatically
from celerant.tasks.task import Task

if TYPE_CHECKING:
    from celerant.context.host import App

__all__ = ["adopt", "base_of", "make_task", "name_of", "rebase", "settle"]

#: Options that have a setting's value if they are None.
_BY_SETTING = frozenset(
    name for name, option in OPTIONS.items() if option.setting is not None
)
_MODEL_OPTIONS = ("pydantic_strict", "pydantic_context", "pydantic_dump_kwargs")


def make_task(  # noqa: PLR0913 - what ``@app.task`` takes
    app: App,
    function: Any,
    *,
    name: str,
    bind: bool = False,
    base: Any = None,
    pydantic: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Task[Any, Any]:
    """Return a new task of `app`, not yet registered.

    Raises:
        SettingError: An option that no task can have, or a base that is no class of
            tasks.
        TypeError: The function is not callable, or a coroutine function.
    """
    if isinstance(function, (staticmethod, classmethod)):
        function = function.__func__
    _check_function(name, function)
    own = dict(options or {})
    models = {option: own.pop(option, None) for option in _MODEL_OPTIONS}
    check_task_options(name, own)
    cls = base_of(name, base)
    parameters = parameters_of_call(function, bind=bind)
    run, dump = function, None
    if pydantic:
        run = WithModels(
            function,
            app=app,
            name=name,
            strict=bool(models["pydantic_strict"]),
            context=models["pydantic_context"],
            dump_kwargs=models["pydantic_dump_kwargs"],
        )
        dump = functools.partial(run.dumped, bound=bind)
    of_results = parameters_of(function, parameters)
    if of_results:
        run = WithResults(run, app=app, name=name, parameters=of_results)
    space = {
        "app": app,
        "name": name,
        "bind": bind,
        "is_decorated": True,
        "parameters": parameters,
        "run": _method(run) if bind else staticmethod(run),
        "of_results": of_results,
        "takes_header": is_first(of_results, parameters),
        "dump_models": None if dump is None else staticmethod(dump),
        "__doc__": function.__doc__,
        "__module__": getattr(function, "__module__", None) or __name__,
        **{k: v for k, v in own.items() if not (v is None and k in _BY_SETTING)},
    }
    made: Task[Any, Any] = _class_of(name_of(function), cls, space)()
    # Its attributes are not copied: one called `name` or `run` would hide the task's.
    functools.update_wrapper(made, function, updated=())
    settle(made)
    made.on_bound(app)
    return made


def adopt(app: App, task: Any) -> Task[Any, Any]:
    """Make an instance of a class of the user's own, or the class itself, a task.

    Raises:
        SettingError: It is no task, or has an impossible option.
    """
    if isinstance(task, type):
        base_of(task.__name__, task)
        task = task()
    if not isinstance(task, Task):
        msg = (
            f"a task is an instance of a class derived from celerant.Task, not {task!r}"
        )
        raise SettingError(msg, name="base")
    cls = type(task)
    _plain_run(task)
    name = task.name or app.gen_task_name(cls.__name__, cls.__module__)
    given = {n: v for n in OPTIONS if (v := task.own_option(n)) is not None}
    given.pop("app", None)
    given.pop("run", None)
    check_task_options(name, given)
    space = {"app": app, "name": name, **_from_settings(cls)}
    space |= {"__module__": cls.__module__, "__doc__": cls.__doc__}
    # A class of its own, because annotations are put on the class.
    task.__class__ = type(cls.__name__, (cls,), space)
    task.__dict__.pop("app", None)
    task.name = name
    taken = task.parameters or parameters_of_call(task.run, bind=False)
    # A call of its own may add arguments to those that are sent.
    if cls.__call__ is Task.__call__:
        type(task).parameters = taken
    of_results = parameters_of(task.run, taken)
    if of_results:
        run = WithResults(task.run, app=app, name=name, parameters=of_results)
        own: Any = type(task)
        own.run = staticmethod(run)
        own.of_results = of_results
        own.takes_header = is_first(of_results, taken)
    settle(task)
    task.on_bound(app)
    return task


def rebase(task: Task[Any, Any], base: type[Task[Any, Any]]) -> None:
    """Give a task of `make_task` another base; it stays the same object."""
    cls = type(task)
    task.__class__ = _class_of(cls.__name__, base, vars(cls)["_space"])
    type(task).__init__(task)
    settle(task)
    task.on_bound(task.app)


def _class_of(name: str, base: type, space: dict[str, Any]) -> type[Task[Any, Any]]:
    # The task's own attributes are kept, for `rebase`.
    return type(name, (base,), {**_from_settings(base), **space, "_space": space})


def settle(task: Task[Any, Any]) -> None:
    """Annotate a task as the settings say now, and apply its options."""
    annotate(task, task.app.conf.task_annotations)
    cls: Any = type(task)
    cls.hooks = frozenset(
        hook
        for hook in HOOKS
        if inspect.getattr_static(cls, hook) is not inspect.getattr_static(Task, hook)
    )
    if "hooks" in vars(task):
        # Some of them were set on the task itself.
        task.hooks |= cls.hooks
    check_retry_options(task)
    retry_automatically(task)
    task.__dict__.pop("_given_options", None)


def _plain_run(task: Task[Any, Any]) -> None:
    """Drop the retrying `run` of a task that is registered again."""
    if vars(task).pop("_orig_run", None) is not None:
        vars(task).pop("run", None)


def name_of(function: Any) -> str:
    """Return the name of a function or other callable."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__


def _check_function(name: str, function: Any) -> None:
    if not callable(function):
        msg = f"task {name}: {function!r} is no function"
        raise TypeError(msg)
    # Itself, not what it wraps: a plain function may run a coroutine to its end.
    if inspect.iscoroutinefunction(function):
        msg = (
            f"task {name}: a coroutine function cannot be a task, for no worker "
            "awaits it; call asyncio.run inside a plain function"
        )
        raise TypeError(msg)


def base_of(name: str, base: Any) -> type[Task[Any, Any]]:
    """Return the class that a task derives from.

    Raises:
        SettingError: It is no class of tasks.
    """
    if base is None:
        return Task
    if isinstance(base, type) and issubclass(base, Task):
        return base
    msg = (
        f"task {name}: base must be a class derived from celerant.Task, not {base!r}; "
        "to_celery() makes Celery's own task of it"
    )
    raise SettingError(msg, name="base")


def _from_settings(cls: type) -> dict[str, Any]:
    """Return the value of an option that is None in a class of the user's own."""
    return {
        name: vars(Task)[name]
        for name in _BY_SETTING
        if cls is not Task and getattr(cls, name, None) is None
    }


def _method(function: Any) -> Any:
    """Return a method that passes the task as first argument to any callable."""
    if inspect.isfunction(function):
        return function

    @functools.wraps(function, updated=())
    def run(task: Any, *args: Any, **kwargs: Any) -> Any:
        return function(task, *args, **kwargs)

    return run
