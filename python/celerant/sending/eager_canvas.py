"""Chains and chords in place: `apply`, and all sends under ``task_always_eager``.

Source: ``_chain.apply`` and ``_chord.apply`` of ``celery.canvas`` of celery 5.7.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celerant.canvas.chain import Chain
from celerant.canvas.chord import chord
from celerant.canvas.group import group
from celerant.canvas.signature import maybe_signature
from celerant.results.result import AsyncResult

if TYPE_CHECKING:
    from celerant.app import Celerant

__all__ = ["run_canvas"]

#: States of a step after which the others do not run.
_ENDS = frozenset({"IGNORED", "REJECTED"})


def run_canvas(
    app: Celerant,
    canvas: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Any:
    """Run a chain or chord and return the finished result of its last step.

    Raises:
        Exception: What a step raised that is not the last, as in Celery.
    """
    if isinstance(canvas, chord):
        return _run_chord(app, canvas, args, kwargs, options)
    return _run_chain(app, canvas, args, kwargs, {**canvas.options, **options})


def _run_chain(
    app: Celerant,
    canvas: Chain[Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: dict[str, Any],
) -> Any:
    callbacks = _listed(options.pop("link", None))
    # It names the last step.
    task_id = options.pop("task_id", None)
    steps = [maybe_signature(step, canvas.own_app or app) for step in canvas.tasks]
    real = [step for step in steps if not _is_empty(step)] or steps[-1:]
    last = None
    for number, step in enumerate(real, 1):
        copy = step.clone()
        of_step = dict(options)
        if number == len(real):
            _extend_links(copy, callbacks)
            if task_id is not None:
                of_step["task_id"] = task_id
        if last is not None:
            # A step that failed raises here.
            args, kwargs = (last.get(disable_sync_subtasks=False),), {}
        result = copy.apply(args, kwargs, **of_step)
        _first_of(result).parent, last = last, result
        if isinstance(result, AsyncResult) and result.state in _ENDS:
            break
    return last


def _run_chord(
    app: Celerant,
    canvas: chord[Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Any:
    header: Any = group(canvas.tasks, app=canvas.own_app or app).apply(args, kwargs)
    body = canvas.body.clone()
    _extend_links(body, _listed(options.get("link")))
    of_body = {k: v for k, v in options.items() if k == "task_id"}
    values = header.get(disable_sync_subtasks=False)
    result = body.apply((values,), **of_body)
    _first_of(result).parent = header
    return result


def _first_of(result: Any) -> Any:
    """Return what a result follows that follows nothing itself."""
    while result.parent is not None:
        result = result.parent
    return result


def _extend_links(canvas: Any, callbacks: list[Any]) -> None:
    """Have `callbacks` run after a copy of the caller's, after each task of a group."""
    if isinstance(canvas, chord):
        _extend_links(canvas.body, callbacks)
    elif callbacks:
        own = _listed(canvas.options.get("link"))
        canvas.options["link"] = [*own, *callbacks]


def _is_empty(step: Any) -> bool:
    return isinstance(step, group) and not step.tasks


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
