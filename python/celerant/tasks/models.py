"""``@app.task(pydantic=True)``: arguments become models, returned models plain data.

Source: ``celery.app.base.pydantic_wrapper`` of celery 5.7.0: which arguments are
validated, and by which models.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from celerant.errors import SettingError

__all__ = ["WithModels"]

_UNIONS = (typing.Union, types.UnionType)


class WithModels:
    """A function that is called with models instead of their plain data."""

    def __init__(  # noqa: PLR0913 - what ``@app.task`` takes
        self,
        function: Callable[..., Any],
        *,
        app: Any,
        name: str,
        strict: bool,
        context: Mapping[str, Any] | None,
        dump_kwargs: Mapping[str, Any] | None,
    ) -> None:
        """Wrap `function`, the task `name` of `app`.

        Raises:
            SettingError: pydantic is not installed.
        """
        try:
            from pydantic import BaseModel  # noqa: PLC0415 - optional
        except ImportError as exc:
            msg = f"task {name}: pydantic=True needs the package pydantic"
            raise SettingError(msg, name="pydantic") from exc
        self._model: type[Any] = BaseModel
        self._function = function
        # Of a decorated function too, its models are told inside.
        self._signature = inspect.signature(function)
        self._strict = strict
        self._context = {
            **(context or {}),
            "celery_app": app,
            "celery_task_name": name,
        }
        self._dump_kwargs = {"mode": "json", **(dump_kwargs or {})}
        functools.update_wrapper(self, function, updated=())
        self.__signature__ = self._signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Validate, call, and write the model that comes back."""
        bound = self._signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            model = self._model_of(name)
            if model is not None and not (value is None and self._may_be_none(name)):
                bound.arguments[name] = self._validated(model, value)
        returned = self._function(*bound.args, **bound.kwargs)
        if isinstance(returned, self._model) and self._is_declared(returned):
            return returned.model_dump(**self._dump_kwargs)
        return returned

    def dumped(
        self, args: Any, kwargs: Mapping[str, Any] | None, *, bound: bool = False
    ) -> tuple[Any, Any]:
        """Return arguments with models as plain data, if the worker can rebuild them.

        The serializer takes or refuses other models.
        """
        given = [None, *(args or ())] if bound else args or ()
        names = [
            name
            for name, parameter in self._signature.parameters.items()
            if parameter.kind
            in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
        ]
        made = [
            self._dump(names[index] if index < len(names) else None, value)
            for index, value in enumerate(given)
        ]
        return (
            made[1:] if bound else made,
            {name: self._dump(name, value) for name, value in (kwargs or {}).items()},
        )

    def _dump(self, name: str | None, value: Any) -> Any:
        if not isinstance(value, self._model) or hasattr(type(value), "__json__"):
            return value
        model = None if name is None else self._model_of(name)
        if model is None:
            return value
        try:
            plain = value.model_dump(**self._dump_kwargs)
            # A subclass of the model, for example, would come back with fewer fields.
            return plain if self._validated(model, plain) == value else value
        except Exception:  # noqa: BLE001 - validators may need what only workers have
            return value

    def _validated(self, model: type[Any], value: Any) -> Any:
        return model.model_validate(value, strict=self._strict, context=self._context)

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        # Late, because a model may be defined after the function.
        try:
            return typing.get_type_hints(self._function)
        except (AttributeError, NameError, TypeError):
            return {}

    def _hint(self, name: str, written: Any) -> Any:
        return self._hints.get(name, written)

    def _parameter_hint(self, name: str) -> Any:
        parameter = self._signature.parameters.get(name)
        if parameter is None or parameter.kind in {
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        }:
            return None
        return self._hint(name, parameter.annotation)

    def _model_of(self, name: str) -> type[Any] | None:
        return self._model_in(self._parameter_hint(name))

    def _is_declared(self, returned: Any) -> bool:
        """Whether it is of the class that the function says it returns."""
        cls = _class_in(self._hint("return", self._signature.return_annotation))
        return cls is not None and isinstance(returned, cls)

    def _may_be_none(self, name: str) -> bool:
        return _optional(self._parameter_hint(name)) is not None

    def _model_in(self, hint: Any) -> type[Any] | None:
        found = _class_in(hint)
        return found if found is not None and issubclass(found, self._model) else None


def _class_in(hint: Any) -> type[Any] | None:
    """Return the class that a hint is, or that it has beside None."""
    found = _optional(hint) or hint
    is_class = isinstance(found, type) and not isinstance(found, types.GenericAlias)
    return found if is_class else None


def _optional(hint: Any) -> Any:
    """Return X of ``X | None``; None for anything else."""
    if typing.get_origin(hint) not in _UNIONS:
        return None
    types_ = typing.get_args(hint)
    rest = [one for one in types_ if one is not type(None)]
    return rest[0] if len(rest) == 1 and len(rest) < len(types_) else None
