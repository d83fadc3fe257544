"""Parameters annotated `GroupResult`: a task gets the result that a handle stands for.

The message has the handle as text; the worker attaches to it when it runs the task.
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
import types
import typing
import uuid
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from typing import Any

from celerant.common.per_process import PerProcess
from celerant.tasks.imported_names import imported_name

__all__ = ["WithResults", "is_first", "parameters_of"]

logger = logging.getLogger("celerant.worker")

_UNIONS = (typing.Union, types.UnionType)
#: Of annotations whose names cannot be looked up: type checkers alone import them.
_UNION_WRITTEN = re.compile(r"(?:\w+\.)*(?:Optional|Union)\[(.*)\]", re.DOTALL)
_BRACKETS = re.compile(r"\[[^\[\]]*\]")
_LISTS = frozenset({list, "typing.List"})
#: Names of tasks of which it was said that they get lists.
_told: PerProcess[set[str]] = PerProcess(set)


class WithResults:
    """A function that is called with results of groups instead of their handles."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        app: Any,
        name: str,
        parameters: Collection[str],
    ) -> None:
        """Wrap `function`, the task `name` of `app`.

        Args:
            function: As it is called, with the task itself if it is bound.
            app: Whose results they are.
            name: The task's, for messages.
            parameters: The names of those that get a result.
        """
        self._function = function
        self._app = app
        self._name = name
        self._parameters = parameters
        self._signature = inspect.signature(function, follow_wrapped=False)
        functools.update_wrapper(self, function, updated=())
        self.__signature__ = self._signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Attach to the results, and call the function."""
        bound = self._signature.bind(*args, **kwargs)
        for parameter in self._parameters:
            if parameter in bound.arguments:
                value = bound.arguments[parameter]
                bound.arguments[parameter] = self._given(parameter, value)
        return self._function(*bound.args, **bound.kwargs)

    def _given(self, parameter: str, value: Any) -> Any:
        if isinstance(value, str):
            return attached(value, self._app.backend)
        if not isinstance(value, list):
            return value
        if not value:
            # An empty header is not sent, and has no handle.
            return _nothing(self._app.backend)
        told = _told.get()
        if self._name not in told and not self._takes_list(parameter):
            told.add(self._name)
            logger.warning(
                "task %s gets a list of %d values for its parameter %r, which is "
                "annotated GroupResult: the worker that ran the last task of the "
                "header could not make a handle. It must be an embedded worker, or "
                "one of app.to_celery(), with this task registered; the header's "
                "results must be stored, and where this task's process can read them",
                self._name,
                len(value),
                parameter,
            )
        return value

    def _takes_list(self, parameter: str) -> bool:
        """Whether it is annotated so that lists are no surprise."""
        written = self._signature.parameters[parameter].annotation
        arms = _arms(written, _space_of(self._function))
        return any(arm in _LISTS for arm in arms if isinstance(arm, Hashable))


def attached(handle: str, backend: Any) -> Any:
    """Return the result that a handle stands for, also one of this process alone.

    Raises:
        HandleError: It is no handle, or no app on this store has made it.
        ResultExpired: The data stored beside the results is gone.
    """
    from celerant.results.handle import attach  # noqa: PLC0415 - heavy

    return attach(handle, backend, backend.handles_here())


def _nothing(backend: Any) -> Any:
    from celerant.results.tree import result_from_tuple  # noqa: PLC0415 - heavy

    made = result_from_tuple(((str(uuid.uuid4()), None), []), backend)
    made.members.were_done = True
    return made


def parameters_of(
    function: Callable[..., Any], signature: inspect.Signature | None
) -> list[str]:
    """Return the names of the parameters of a function that are annotated so.

    Args:
        function: Its module has the names in annotations.
        signature: Its parameters, without the task itself.
    """
    if signature is None:
        return []
    space = _space_of(function)
    return [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
        and _is_result(parameter.annotation, space)
    ]


def _space_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    space: Mapping[str, Any] = getattr(inspect.unwrap(function), "__globals__", {})
    return space


def is_first(names: Collection[str], signature: inspect.Signature | None) -> bool:
    """Whether the first positional parameter is among `names`: a body's header."""
    if not names or signature is None:
        return False
    first = next(iter(signature.parameters.values()))
    return first.name in names and first.kind is not first.KEYWORD_ONLY


def _is_result(annotation: Any, space: Mapping[str, Any]) -> bool:
    """Whether an annotation is `GroupResult`, by itself or in a union."""
    return any(map(_is_ours, _arms(annotation, space)))


def _is_ours(arm: Any) -> bool:
    if isinstance(arm, str):
        return arm.startswith("celerant.") and arm.endswith(".GroupResult")
    # By its name: the module is heavy, and few programs that only send need it.
    return (
        isinstance(arm, type)
        and arm.__name__ == "GroupResult"
        and arm.__module__ == "celerant.results.group_result"
    )


def _arms(annotation: Any, space: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the classes of a union, or the one class; names of those not known here."""
    if isinstance(annotation, str):
        if "GroupResult" not in annotation:
            return
        try:
            annotation = eval(annotation, {**space})  # noqa: S307 - the program's own
        except Exception:  # noqa: BLE001 - a name that only type checkers import
            for name in _written(annotation):
                yield from _named(name, space)
            return
    origin = typing.get_origin(annotation)
    if origin in _UNIONS or origin is typing.Annotated:
        for one in typing.get_args(annotation):
            yield from _arms(one, space)
    else:
        yield origin or annotation


def _named(name: str, space: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what an arm's name stands for; the name, if only type checkers know it."""
    try:
        found = eval(name, {**space})  # noqa: S307 - the program's own
    except Exception:  # noqa: BLE001 - a name that only type checkers import
        yield imported_name(name, space)
        return
    if not isinstance(found, str):
        yield from _arms(found, space)


def _written(text: str) -> Iterator[str]:
    """Yield the names of the arms of an annotation, without what is in brackets."""
    union = _UNION_WRITTEN.fullmatch(text.strip())
    text = text if union is None else union[1]
    while (shorter := _BRACKETS.sub("", text)) != text:
        text = shorter
    for arm in re.split("[|,]", text):
        yield arm.strip()
