"""Chord headers of plain tasks, which need not be frozen before they are sent.

Source: ``_chord.run`` and ``group._freeze_group_tasks`` of celery 5.7.0: each member is
copied and frozen and its result made, and ``group.apply_async`` does all of it again.
"""

from __future__ import annotations

import uuid
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import celery
from celery import canvas
from celery.backends.redis import RedisBackend
from celery.utils.abstract import CallableSignature
from celery.utils.functional import _regen, regen
from kombu.utils.uuid import uuid as uuid4

from celerant._core import Roster
from celerant.celery.eligibility import CHAINS, GROUPS, file_of, of_app, of_chain
from celerant.celery.functions import actual
from celerant.celery.generators import drawn
from celerant.celery.sending import SETTINGS

__all__ = ["dismiss", "prepare"]

#: Signatures that are one task with one result.
_PLAIN = frozenset({canvas.Signature, canvas.xmap, canvas.xstarmap})

#: Backends whose `apply_chord` only looks for groups among the results: Celery's and
#: ours.
_ONLY_FOR_GROUPS = {Path(celery.__file__).parent / "backends", Path(__file__).parent}


def prepare(header: Any, app: Any) -> None:
    """Let `_chord.run` find a header that freezes in our way, if nothing shows it.

    Args:
        header: The group.
        app: The app whose result backend is told of the chord.
    """
    if type(header) not in GROUPS:
        return
    try:
        own = header.app
    except AttributeError:
        # Tasks that are plain dicts have none.
        return
    if own.backend is app.backend:
        vars(header)["_freeze_group_tasks"] = partial(_freeze, header)


def dismiss(header: Any) -> None:
    """Undo `prepare`, unless the header was frozen."""
    vars(header).pop("_freeze_group_tasks", None)


def _freeze(header: Any, **place: Any) -> tuple[str, Any]:
    """Stand in for ``group._freeze_group_tasks`` of a chord's header, once.

    Returns:
        The group's id and the members' results; no results if nobody looks at them.
    """
    del vars(header)["_freeze_group_tasks"]
    freeze = header._freeze_group_tasks  # noqa: SLF001 - Celery has no public one
    app = actual(header.app)
    members = None
    if not app.conf.task_always_eager and of_app(app) is None:
        members = _members(header, are_named=_looks_at_results(app.backend))
    if members is None:
        return freeze(**place)  # type: ignore[no-any-return] # Celery has no types
    # The group's own fields, made by Celery.
    header.tasks = []
    group_id, _ = freeze(**place)
    header.tasks, results = members
    return group_id, results


def _looks_at_results(backend: Any) -> bool:
    """Whether a backend's `apply_chord` looks at the results of plain tasks."""
    if not isinstance(backend, RedisBackend):
        return True
    layer = backend.apply_chord
    while layer is not None:
        if Path(file_of(layer)).parent not in _ONLY_FOR_GROUPS:
            return True
        layer = getattr(layer, "__wrapped__", None)
    return False


def _members(header: Any, *, are_named: bool) -> tuple[Any, list[Any]] | None:
    """Return a header's members in the order in which Celery freezes them.

    Args:
        header: The group.
        are_named: Whether they get their ids.
    Returns:
        The members and, if named, their results; None if some are not plain.
    """
    app = header._app  # noqa: SLF001 - the argument of `maybe_signature`
    if isinstance(header.tasks, _regen):
        # In their own order: `group.apply_async` takes them apart.
        tasks = (canvas.maybe_signature(task, app=app) for task in drawn(header.tasks))
        return None if are_named else (regen(tasks), [])
    # The results of chains are not needed if nobody looks at them.
    flat = _flat(header.tasks, with_chains=not are_named)
    if flat is None:
        return None
    if app is not None:
        for task in flat:
            task._app = app  # noqa: SLF001 - as `maybe_signature` does
    return _named(flat) if are_named else (flat, [])


def _flat(tasks: Any, *, with_chains: bool) -> list[Any] | None:
    """Return members, with nested groups' members in reverse order."""
    if {*map(type, tasks)} <= _PLAIN:
        return list(tasks)
    flat: list[Any] = []
    pending = deque(tasks)
    while pending:
        task = pending.popleft()
        if not isinstance(task, CallableSignature):
            task = canvas.maybe_signature(task)
        if type(task) in _PLAIN:
            flat.append(task)
        elif isinstance(task, canvas._chain) and not task.tasks:  # noqa: SLF001 - Celery has no public one
            continue
        elif with_chains and type(task) in CHAINS and of_chain(task) is None:
            flat.append(task)
        elif type(task) in GROUPS and not vars(task).keys() - {"_app", "_type"}:
            pending.extendleft(task.tasks)
        else:
            return None
    return flat


def _named(tasks: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return copies that have ids, and their results; the caller's members get none."""
    if SETTINGS.uuid4:
        ids = [uuid4() for _ in tasks]
    else:
        ids = Roster(uuid.uuid4().bytes, len(tasks)).ids(0, len(tasks))
    named = [_copy(task) for task in tasks]
    results = [
        task.AsyncResult(task.options.setdefault("task_id", task_id))
        for task, task_id in zip(named, ids, strict=True)
    ]
    return named, results


def _copy(task: Any) -> Any:
    """Return the same as `clone`, and share the parts that are only read."""
    if type(task) is not canvas.Signature:
        return task.clone()
    parts = {**task, "args": tuple(task["args"]), "options": {**task["options"]}}
    copy = canvas.Signature(parts, app=task._app)  # noqa: SLF001 - Celery has no public one
    copy._type = task._type  # noqa: SLF001 - the same
    return copy
