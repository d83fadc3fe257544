"""The rules for members that leave in a volley; others take Celery's own path.

A volley skips code that Celery runs for each task. It is taken only if that code is
Celery's own and no code listens: then skipping it has no visible effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import celery
import kombu.messaging
from celery import canvas, result
from celery.app import amqp as celery_amqp
from celery.app import base as celery_base
from celery.app import routes as celery_routes
from celery.app import task as celery_task
from celery.utils.functional import _regen

from celerant.celery.adapters import unwrapped
from celerant.celery.functions import actual, bare
from celerant.celery.signals import can_retell

__all__ = [
    "CHAINS",
    "GROUPS",
    "file_of",
    "is_of",
    "of_app",
    "of_call",
    "of_chain",
    "of_chains",
    "of_frozen",
    "of_signature",
    "of_task",
]

#: Chains as Celery makes them.
CHAINS = frozenset({canvas._chain, canvas.chain})  # noqa: SLF001 - Celery has no public one

#: Classes of groups that are taken apart; a subclass may mean something else.
GROUPS: set[type] = {canvas.group}

#: Options that a volley carries. Any other one, known or not, takes Celery's own path.
OPTIONS = frozenset(
    {
        "chain",
        "chord",
        "compression",
        "countdown",
        "delivery_mode",
        "eta",
        "exchange",
        "expires",
        "group_id",
        "group_index",
        "headers",
        "ignore_result",
        "link",
        "link_error",
        "parent_id",
        "priority",
        "queue",
        "reply_to",
        "retries",
        "root_id",
        "route_name",
        "routing_key",
        "serializer",
        "shadow",
        "soft_time_limit",
        "stamped_headers",
        "task_id",
        "time_limit",
    }
)
#: Options of a call, too: kombu's behaviour when the broker is lost.
CALL_OPTIONS = OPTIONS | {"retry", "retry_policy"}
#: Parameters of `group.apply_async` that are no options.
_PARAMETERS = frozenset(
    {"add_to_parent", "args", "kwargs", "link", "link_error", "producer"}
)

#: Attributes that an unchanged signature keeps beside its dict.
_OWN = frozenset({"_app", "_type", "app", "type", "AsyncResult", "_apply_async"})

#: The same for a chain.
_OWN_OF_CHAIN = _OWN | {"_frozen", "_use_link"}
_CHAIN_METHODS = ("apply_async", "run", "freeze", "prepare_steps", "clone")
#: Without options that place a task: the chain places it.
_OPTIONS_OF_STEPS = OPTIONS - {
    "chain",
    "chord",
    "group_id",
    "group_index",
    "route_name",
}

_BACKENDS = Path(celery.__file__).parent / "backends"

_TASK_METHODS = (
    "apply_async",
    "shadow_name",
    "_get_exec_options",
    "_get_app",
    "AsyncResult",
)
_CANVAS_METHODS = {
    canvas.Signature: ("apply_async", "_merge", "freeze", "clone"),
    canvas.group: (
        "_prepared",
        "_apply_tasks",
        "_freeze_gid",
        "_freeze_group_tasks",
        "_freeze_tasks",
        "_freeze_unroll",
        "_unroll_tasks",
    ),
    canvas.xmap: ("apply_async",),
    canvas.xstarmap: ("apply_async",),
}


def file_of(function: Any) -> str:
    """Return the file in which a function is written; a wrapper is in its own."""
    found = bare(function)
    return "" if found is None else found.__code__.co_filename


def is_of(function: Any, module: ModuleType) -> bool:
    """Whether a function is written in `module`.

    A wrapper is not, even if it pretends to be, unless an adapter knows it.
    """
    return file_of(unwrapped(function)) == module.__file__


def of_call(app: Any, members: Any, call: Mapping[str, Any]) -> str | None:
    """Return why a group is not sent as a volley, looking at the call alone.

    Args:
        app: The group's.
        members: The group.
        call: The keyword arguments of its `apply_async`.
    """
    if any(call.get(name) is not None for name in ("link", "link_error")):
        return "a group takes no link and no link_error"
    if app.conf.task_always_eager:
        return "task_always_eager"
    if type(members) not in GROUPS:
        return f"{type(members).__name__} is a subclass of group"
    if call.get("producer") is not None:
        return "the call brings a producer"
    given = {k: v for k, v in call.items() if k not in _PARAMETERS}
    options = {**members.options, **given}
    others = options.keys() - CALL_OPTIONS - set(options.get("stamped_headers") or ())
    if others:
        return f"option {min(others)!r} is not carried by a volley"
    return None


def of_app(app: Any) -> str | None:
    """Return why no group of `app` is sent as a volley; None: they are."""
    return (
        _of_settings(app.conf) or _of_sending(app) or _of_library() or _of_results(app)
    )


def _of_settings(conf: Any) -> str | None:
    if conf.task_protocol != 2:  # noqa: PLR2004 - Celery's protocol versions
        return f"task_protocol is {conf.task_protocol}"
    if conf.task_send_sent_event:
        return "task_send_sent_event asks for an event per task"
    return None


def _of_sending(app: Any) -> str | None:
    for name in ("send_task", "producer_or_acquire"):
        if not is_of(getattr(app, name), celery_base):
            return f"Celery.{name} is overridden or wrapped"
    amqp = app.amqp
    if not (
        type(amqp) is celery_amqp.AMQP
        and amqp.Producer is kombu.messaging.Producer
        and (amqp.argsrepr_maxsize, amqp.kwargsrepr_maxsize) == (1024, 1024)
        and type(amqp.router) is celery_routes.Router
        and is_of(amqp.create_task_message, celery_amqp)
        and is_of(amqp.send_task_message, celery_amqp)
        and can_retell(amqp.send_task_message)
    ):
        return "the app's amqp is not Celery's own"
    return None


def _of_library() -> str | None:
    """Return the method of Celery or kombu that was changed for all apps."""
    producer = kombu.messaging.Producer
    for name in ("publish", "_publish"):
        if not is_of(getattr(producer, name), kombu.messaging):
            return f"kombu's Producer.{name} is wrapped"
    for owner, names in _CANVAS_METHODS.items():
        for name in names:
            if not is_of(getattr(owner, name), canvas):
                return f"{owner.__name__}.{name} is overridden or wrapped"
    return None


def _of_results(app: Any) -> str | None:
    if Path(file_of(app.backend.on_task_call)).parent != _BACKENDS:
        return "the result backend wants to know of each task that is sent"
    if result.GroupResult not in app.GroupResult.__bases__:
        return "the app has a GroupResult of its own"
    return None


def of_task(app: Any, name: str, task: Any) -> str | None:
    """Return why members of a task are not sent in a volley.

    Args:
        app: The group's.
        name: The task's.
        task: Its `Task`; None if the app does not know it.
    """
    return None if task is None else _of_methods(app, name, task)


def _of_methods(app: Any, name: str, task: Any) -> str | None:
    if not isinstance(task, celery_task.Task):
        return f"{name} is no Celery task"
    for method in _TASK_METHODS:
        if not is_of(getattr(task, method), celery_task):
            return f"Task.{method} of {name} is overridden or wrapped"
    if getattr(task, "_dump_pydantic_arguments", None) is not None:
        return f"{name} takes pydantic models"
    if getattr(task, "__v2_compat__", False) or task._get_app() is not app:  # noqa: SLF001 - Celery has no public one
        return f"{name} is a task of another app"
    return None


def of_frozen(members: Any) -> str | None:
    """Return why a frozen group's result is Celery's own."""
    tasks = members.tasks
    if type(members) not in GROUPS:
        return f"{type(members).__name__} is a subclass of group"
    if isinstance(tasks, _regen) or not tasks:
        return "looking at the results of a generator's members freezes them"
    return of_app(actual(members.app))


def of_signature(signature: Any) -> str | None:
    """Return why one signature is not sent in a volley, looking at it alone."""
    options = signature["options"]
    if options and not OPTIONS.issuperset(options):
        others = options.keys() - OPTIONS - set(options.get("stamped_headers") or ())
        if others:
            return f"option {min(others)!r} is not carried by a volley"
    if not vars(signature).keys() <= _OWN:
        return "the signature has methods of its own"
    return None


def of_chain(chain: Any) -> str | None:
    """Return why one chain is not sent in a volley, looking at it and its steps.

    It leaves as its first task. Celerant writes the later steps; tests prove that they
    are as Celery writes them.
    """
    steps = chain["kwargs"]["tasks"]
    if len(steps) < 2 or not {*map(type, steps)} <= {canvas.Signature}:  # noqa: PLR2004 - otherwise no task follows
        return "the chain is not one of several tasks"
    own = vars(chain)
    if not own.keys() <= _OWN_OF_CHAIN or own["_frozen"] or own["_use_link"]:
        return "the chain is frozen, links its tasks, or has methods of its own"
    for part in (chain, *steps):
        options = part["options"]
        if options and not _OPTIONS_OF_STEPS.issuperset(options):
            others = options.keys() - _OPTIONS_OF_STEPS
            others -= set(options.get("stamped_headers") or ())
            if others:
                return f"option {min(others)!r} of a chain is not carried by a volley"
        if part is not chain and not vars(part).keys() <= _OWN:
            return "a task of the chain has methods of its own"
    return None


def of_chains() -> str | None:
    """Return why no chain at all is sent in a volley."""
    for method in _CHAIN_METHODS:
        if not is_of(getattr(canvas._chain, method), canvas):  # noqa: SLF001 - Celery has no public one
            return f"chain.{method} is overridden or wrapped"
    return None
