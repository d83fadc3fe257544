"""Every option of ``@app.task``: its possible values and its treatment here.

Source of names and defaults: ``Task`` and its ``from_config``,
``add_autoretry_behaviour`` and ``Celery._task_from_fun`` of celery 5.7.0.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from celerant.canvas import option_values as values
from celerant.config import nearest
from celerant.errors import SettingError

__all__ = [
    "DECORATOR",
    "HOOKS",
    "OPTIONS",
    "SENT",
    "TaskOption",
    "check_task_options",
    "cleared",
]

#: Arguments of the decorator itself: they are no attributes of the task.
DECORATOR: dict[str, str] = {
    "name": "the task's name; by default the function's module and name",
    "bind": "the function gets the task as first argument",
    "base": "a class derived from `celerant.Task`",
    "filter": "called with the new task; the decorator returns its value",
    "lazy": "has no effect: a task is made at once",
    "shared": "`True` gives the task to every app, as `shared_task` does",
    "pydantic": "arguments become the models of their annotations",
    "pydantic_strict": "with `pydantic`: validate strictly",
    "pydantic_context": "with `pydantic`: the context of the validators",
    "pydantic_dump_kwargs": "with `pydantic`: arguments of `model_dump` for a result",
}

#: Methods of a task that a function may replace; it gets the task first.
HOOKS: dict[str, str] = {
    "before_start": "called before the function: (task_id, args, kwargs)",
    "on_success": "called after the function: (retval, task_id, args, kwargs)",
    "on_failure": "(exc, task_id, args, kwargs, einfo)",
    "on_retry": "(exc, task_id, args, kwargs, einfo)",
    "after_return": "(status, retval, task_id, args, kwargs, einfo)",
    "on_replace": "sends or runs the canvas that replaces the task",
    "on_bound": "a class method, called with the app when the task is made",
    "shadow_name": "(args, kwargs, options): the name that logs show",
}


class TaskOption(NamedTuple):
    """One option."""

    treatment: Literal["honoured", "handed over", "refused"]
    values: values.OptionValues
    default: Any = None
    #: The setting that decides if the task does not.
    setting: str | None = None
    #: Its effect here, if Celery's documentation does not tell it.
    remark: str = ""


def _flag(setting: str) -> TaskOption:
    return TaskOption("honoured", values.FLAG, setting=setting)


#: By name. A name that no table has is an attribute of the user's own.
OPTIONS: dict[str, TaskOption] = {
    # Sending.
    "queue": TaskOption("honoured", values.QUEUE),
    "routing_key": TaskOption("honoured", values.TEXT),
    "exchange": TaskOption(
        "honoured",
        values.EXCHANGE,
    ),
    "exchange_type": TaskOption(
        "handed over", values.TEXT, remark="is not a part of messages, as in Celery"
    ),
    "priority": TaskOption(
        "honoured", values.STRICT_WHOLE, setting="task_default_priority"
    ),
    # It may also be a datetime, which is checked when it is sent.
    "expires": TaskOption("honoured", values.ANY),
    "serializer": TaskOption("honoured", values.TEXT, setting="task_serializer"),
    "delivery_mode": TaskOption(
        "honoured",
        values.MODE,
    ),
    "compression": TaskOption("honoured", values.TEXT),
    "time_limit": TaskOption("honoured", values.LIMIT, setting="task_time_limit"),
    "soft_time_limit": TaskOption(
        "honoured", values.LIMIT, setting="task_soft_time_limit"
    ),
    "immediate": TaskOption("honoured", values.FLAG),
    "mandatory": TaskOption("honoured", values.FLAG),
    # Running.
    "typing": TaskOption("honoured", values.FLAG, default=True),
    "trail": TaskOption("honoured", values.FLAG, default=True),
    "ignore_result": _flag("task_ignore_result"),
    "store_errors_even_if_ignored": _flag("task_store_errors_even_if_ignored"),
    "store_eager_result": _flag("task_store_eager_result"),
    "track_started": _flag("task_track_started"),
    "send_events": TaskOption("honoured", values.FLAG, default=True),
    "throws": TaskOption("honoured", values.EXPECTED, ()),
    "acks_late": _flag("task_acks_late"),
    "acks_on_failure_or_timeout": _flag("task_acks_on_failure_or_timeout"),
    "acks_on_failure": _flag("task_acks_on_failure"),
    "acks_on_timeout": _flag("task_acks_on_timeout"),
    "reject_on_worker_lost": _flag("task_reject_on_worker_lost"),
    "retry_on_worker_lost": _flag("task_retry_on_worker_lost"),
    # Retrying.
    "max_retries": TaskOption("honoured", values.COUNT, 3),
    "default_retry_delay": TaskOption("honoured", values.LIMIT, 180),
    "autoretry_for": TaskOption("honoured", values.EXCEPTIONS, ()),
    "dont_autoretry_for": TaskOption("honoured", values.EXCEPTIONS, ()),
    "retry_kwargs": TaskOption("honoured", values.MAPPING, {}),
    "retry_backoff": TaskOption("honoured", values.FACTOR, default=False),
    "retry_backoff_max": TaskOption("honoured", values.LIMIT, 600),
    "retry_jitter": TaskOption("honoured", values.FLAG, default=True),
    "abstract": TaskOption(
        "honoured", values.ANY, default=True, remark="has no effect in Celery"
    ),
    # Options for Celery's own worker alone.
    "rate_limit": TaskOption(
        "handed over",
        values.RATE,
        setting="task_default_rate_limit",
        remark="the embedded worker has no rate limits, and says so",
    ),
    "resultrepr_maxsize": TaskOption(
        "handed over", values.COUNT, 1024, remark="the embedded worker uses the default"
    ),
    "Strategy": TaskOption(
        "handed over", values.ANY, remark="a part of Celery's worker"
    ),
    "Request": TaskOption(
        "handed over", values.ANY, remark="a part of Celery's worker"
    ),
    # Options that a task cannot choose here.
    "backend": TaskOption(
        "refused", values.ANY, remark="all results are in the app's own result store"
    ),
    "request_stack": TaskOption(
        "refused", values.ANY, remark="a task reads `request`, one for each context"
    ),
    "app": TaskOption(
        "refused", values.ANY, remark="a task belongs to the decorator's app"
    ),
    "run": TaskOption("refused", values.ANY, remark="the decorated function is `run`"),
}

#: Options that go with every message of the task (Celery's exec options).
SENT = (
    "queue",
    "routing_key",
    "exchange",
    "priority",
    "expires",
    "serializer",
    "delivery_mode",
    "compression",
    "time_limit",
    "soft_time_limit",
    "immediate",
    "mandatory",
)

_CLEARED = (*SENT, "ignore_result")


def cleared(options: Mapping[str, Any]) -> dict[str, None]:
    """Return the options of a call of a task that take away the task's own.

    As in Celery, a None does that in a call of the task, and not in one of a canvas.
    """
    if None not in options.values():
        return {}
    return {name: None for name in _CLEARED if options.get(name, name) is None}


#: How similar a name of the user's own and an option's may be.
_TOO_NEAR = 0.8


def check_task_options(task: str, options: Mapping[str, Any]) -> None:
    """Refuse impossible options, and names that are most likely misspelt.

    Other names are attributes of the user's own.

    Raises:
        SettingError: With the nearest option's name.
    """
    known = frozenset({*OPTIONS, *HOOKS, *DECORATOR})
    for name, value in options.items():
        option = OPTIONS.get(name)
        if option is None:
            near = None if name in known else nearest(name, known, _TOO_NEAR)
            if near:
                msg = (
                    f"task {task}: unknown option {name!r}; did you mean {near!r}? "
                    "An attribute of your own with such a name belongs in a base= class"
                )
                raise SettingError(msg, name=name, nearest=near)
            continue
        if option.treatment == "refused":
            msg = f"task {task}: {name} cannot be chosen: {option.remark}"
            raise SettingError(msg, name=name)
        if value is not None and not option.values.takes(value):
            msg = (
                f"task {task}: {name} must be {option.values.words}, "
                f"not {reprlib.repr(value)}"
            )
            raise SettingError(msg, name=name)
    values.check_limits(options, f"task {task}: ")
