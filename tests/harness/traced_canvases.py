"""Random canvases of tasks that tell of every call."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from harness.canvases import Recipe

__all__ = [
    "errbacks_of",
    "errbacks_of_first_steps",
    "has_uplift",
    "placed",
    "random_recipes",
    "traced_recipes",
]

_SWAPPED = (
    "task",
    "failing",
    "retried",
    "chain",
    "group",
    "chord",
    "failing chord",
    "chain to group",
)
#: Those that are chords, or become chords.
_UPLIFTED = {"group", "chord", "failing chord", "chain to group"}
_ERRBACK_NAMES = ("told_id", "told_all")


def _callbacks(*names: str) -> st.SearchStrategy[tuple[Recipe, ...]]:
    made = st.builds(Recipe, kind=st.just("task"), name=st.sampled_from(names))
    few = st.lists(made, min_size=1, max_size=2).map(tuple)
    return st.one_of(st.just(()), st.just(()), st.just(()), few)


_LINKS = _callbacks("note", "note", "fail")
_ERRBACKS = _callbacks(*_ERRBACK_NAMES)


def _tasks(*, calm: bool) -> st.SearchStrategy[Recipe]:
    common: dict[str, Any] = {
        "args": st.lists(st.integers(0, 9), max_size=1).map(tuple),
        "immutable": st.sampled_from([False, False, True]),
        "links": _callbacks("note") if calm else _LINKS,
        "errbacks": _ERRBACKS,
    }
    names = ["note"] * 6 + ["again"] + [*(() if calm else ("fail", "in_vain"))]
    kinds = [one for one in _SWAPPED if not (calm and one.startswith("failing"))]
    plain = st.builds(
        Recipe, kind=st.just("task"), name=st.sampled_from(names), **common
    )
    into = st.fixed_dictionaries({"into": st.sampled_from(kinds)})
    swapped = st.builds(
        Recipe, kind=st.just("task"), name=st.just("swapped"), kwargs=into, **common
    )
    return st.one_of(plain, plain, plain, plain, plain, swapped)


def traced_recipes(*, calm: bool, max_nodes: int = 20) -> st.SearchStrategy[Recipe]:
    """Make recipes of canvases without options.

    Args:
        calm: Whether no task of them fails.
        max_nodes: How large they may be.
    """

    def nested(inner: st.SearchStrategy[Recipe]) -> st.SearchStrategy[Recipe]:
        several = st.lists(inner, min_size=1, max_size=4).map(tuple)
        any_number = st.lists(inner, max_size=4).map(tuple)
        return st.one_of(
            st.builds(
                Recipe, kind=st.just("group"), parts=any_number, errbacks=_ERRBACKS
            ),
            st.builds(
                Recipe,
                kind=st.sampled_from(["chain", "pipe"]),
                parts=several,
                links=_callbacks("note"),
                errbacks=_ERRBACKS,
            ),
            st.builds(
                Recipe,
                kind=st.just("chord"),
                parts=any_number,
                body=inner,
                links=_callbacks("note"),
                errbacks=_ERRBACKS,
            ),
        )

    made = st.recursive(_tasks(calm=calm), nested, max_leaves=10)
    made = made.filter(lambda recipe: recipe.size <= max_nodes)
    return made.filter(lambda recipe: not recipe.is_fruitless)


def random_recipes(count: int, number: int) -> list[Recipe]:
    """Return `count` recipes, no two alike; the same ones for the same `number`."""
    found: dict[str, Recipe] = {}

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(recipe=st.one_of(traced_recipes(calm=True), traced_recipes(calm=False)))
    def collect(recipe: Recipe) -> None:
        found.setdefault(repr(recipe), recipe)

    collect()
    return list(found.values())


def placed(recipe: Recipe, run: str, canvas: int) -> Recipe:
    """Return a recipe whose tasks know their places."""
    numbers = itertools.count()

    def walk(part: Recipe) -> Recipe:
        kwargs = part.kwargs
        if part.kind == "task":
            kwargs = {**kwargs, "at": [run, canvas, f"t{next(numbers)}"]}
        return replace(
            part,
            kwargs=kwargs,
            parts=_all(part.parts),
            body=None if part.body is None else walk(part.body),
            links=_all(part.links),
            errbacks=_all(part.errbacks),
        )

    def _all(parts: tuple[Recipe, ...]) -> tuple[Recipe, ...]:
        return tuple(map(walk, parts))

    return walk(recipe)


def errbacks_of(recipe: Recipe) -> set[str]:
    """Return the names of the errbacks of a recipe's tasks."""
    return {
        str(task.kwargs["at"][2])
        for task in _leaves(placed(recipe, "", 0))
        if task.name in _ERRBACK_NAMES
    }


def errbacks_of_first_steps(recipe: Recipe) -> set[str]:
    """Return those of the first tasks after a chord's header.

    Celery does not call them if a chain comes first and the header fails.
    """
    found: set[str] = set()

    def add(body: Recipe | None) -> None:
        while body is not None and body.kind in {"chain", "pipe"}:
            body = body.parts[0] if body.parts else None
        if body is not None and body.kind == "task":
            found.update(str(errback.kwargs["at"][2]) for errback in body.errbacks)

    def walk(part: Recipe) -> None:
        add(part.body)
        if part.kind in {"chain", "pipe"}:
            for before, after in itertools.pairwise(part.parts):
                if before.kind != "task":
                    add(after)
        for inner in (*part.parts, *filter(None, (part.body,))):
            walk(inner)

    walk(placed(recipe, "", 0))
    return found


def has_uplift(recipe: Recipe) -> bool:
    """Return whether a chord takes the place of a task in it."""
    return any(task.kwargs.get("into") in _UPLIFTED for task in _leaves(recipe))


def _leaves(recipe: Recipe) -> Iterator[Recipe]:
    if recipe.kind == "task":
        yield recipe
    inside = (*recipe.parts, *recipe.links, *recipe.errbacks)
    for part in (*inside, *filter(None, (recipe.body,))):
        yield from _leaves(part)
