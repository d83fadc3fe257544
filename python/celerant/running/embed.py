"""The tasks that follow a task, in its message: the third item of its body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celerant.common.printable import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celerant.context.request import Request

__all__ = ["read_embed"]

_LISTS = ("callbacks", "errbacks", "chain")


def read_embed(embed: dict[str, Any], request: Request) -> str | None:
    """Take the readable parts of it.

    If the rest cannot be read, these are still taken: waiters for the later tasks are
    told.

    Returns:
        The error in it, None if there is none.
    """
    if not any(embed.values()):
        return None
    problems: list[str] = []
    for name in _LISTS:
        value = embed.get(name)
        if value is None:
            continue
        if isinstance(value, (list, tuple)):
            setattr(request, name, list(_canvases(name, value, problems)))
        else:
            problems.append(f"its {name} are no list but {shown(value)}")
    chord = embed.get("chord")
    if chord is not None:
        for read in _canvases("chord", [chord], problems):
            request.chord = read
    return problems[0] if problems else None


def _canvases(
    name: str, values: list[Any] | tuple[Any, ...], problems: list[str]
) -> Iterator[dict[str, Any]]:
    for number, value in enumerate(values):
        # Celery takes a task's name as a call of it.
        canvas = {"task": value} if isinstance(value, str) else value
        where = name if name == "chord" else f"{name}[{number}]"
        wrong = _wrong(canvas)
        if wrong is None:
            yield canvas
        else:
            problems.append(f"its {where} {wrong}")


def _wrong(canvas: Any) -> str | None:
    if not isinstance(canvas, dict):
        return f"is no signature but {shown(canvas)}"
    if not isinstance(canvas.get("task"), str):
        return f"names no task but {shown(canvas.get('task'))}"
    for field, types in (("args", (list, tuple)), ("kwargs", dict), ("options", dict)):
        value = canvas.get(field)
        if value is not None and not isinstance(value, types):
            return f"has {field} that cannot be {shown(value)}"
    return None
