"""The setting ``task_annotations``: attributes of tasks that the configuration changes.

Source: ``celery.app.annotations`` and ``Task.annotate`` of celery 5.7.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kombu.utils.imports import symbol_by_name

from celerant.errors import SettingError
from celerant.tasks.options import check_task_options

if TYPE_CHECKING:
    from celerant.tasks.task import Task

__all__ = ["annotate", "annotations_of", "check_annotations"]

#: The attribute of a task's class with the values that annotations have replaced.
_BEFORE = "_before_annotations"


def check_annotations(annotations: Any) -> None:
    """Refuse values that cannot annotate.

    Raises:
        SettingError: A value that is no mapping and no class's name, and has no
            `annotate` or `annotate_any`.
    """
    for one in _listed(annotations):
        if not (
            isinstance(one, (Mapping, str))
            or hasattr(one, "annotate")
            or hasattr(one, "annotate_any")
        ):
            msg = (
                "task_annotations must be a mapping of task names to attributes, the "
                "name of a class, an object with the method annotate or annotate_any, "
                f"or a list of these, not {one!r}"
            )
            raise SettingError(msg, name="task_annotations")


def annotations_of(annotations: Any, task: Any) -> Iterator[dict[str, Any]]:
    """Return the annotations of a task: its own, then those for all tasks.

    As in Celery, the first of each sort that is not empty counts.
    """
    objects = [
        symbol_by_name(one)() if isinstance(one, str) else one
        for one in _listed(annotations)
    ]
    for method, args, key in (
        ("annotate", (task,), task.name),
        ("annotate_any", (), "*"),
    ):
        for one in objects:
            found: Any = None
            if hasattr(one, method):
                found = getattr(one, method)(*args)
            elif isinstance(one, Mapping):
                found = one.get(key)
            if found is not None:
                if found:
                    yield dict(found)
                break


def annotate(task: Task[Any, Any], annotations: Any) -> None:
    """Give a task the attributes of the setting, instead of earlier ones.

    Raises:
        SettingError: A value that the option cannot have.
    """
    cls = type(task)
    for name, value in vars(cls).get(_BEFORE, {}).items():
        if value is _BEFORE:
            delattr(cls, name)
        else:
            setattr(cls, name, value)
    before: dict[str, Any] = {}
    setattr(cls, _BEFORE, before)
    for found in annotations_of(annotations, task):
        plain = {k: v for k, v in found.items() if not k.startswith("@")}
        check_task_options(task.name, plain)
        for key, value in found.items():
            name = key.removeprefix("@")
            before.setdefault(name, vars(cls).get(name, _BEFORE))
            setattr(cls, name, _around(cls, name, value) if key != name else value)


def _around(cls: type, name: str, decorate: Any) -> Any:
    is_static = isinstance(vars(cls).get(name), staticmethod)
    made = decorate(getattr(cls, name))
    return staticmethod(made) if is_static else made


def _listed(annotations: Any) -> list[Any]:
    if annotations is None:
        return []
    if isinstance(annotations, (list, tuple)):
        return list(annotations)
    return [annotations]
