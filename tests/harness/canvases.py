"""Random canvases as plain recipes, which Celery and Celerant build alike."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from harness.normal_form import hides

__all__ = [
    "Call",
    "Recipe",
    "Stamping",
    "build",
    "calls",
    "outline",
    "recipes",
]

NAMES = ("one", "two", "three")


#: Kinds that are one task over many arguments, and their makers.
_PAIRS = ([1, 2], [3, 4], [5, 6])
_ITEMS: dict[str, tuple[Any, ...]] = {
    "map": (list(_PAIRS),),
    "starmap": (list(_PAIRS),),
    "chunks": (list(_PAIRS), 2),
}
_MAPPED = tuple(_ITEMS)


@dataclass(frozen=True)
class Stamping:
    """A call of `stamp`."""

    headers: dict[str, Any]
    append: bool = False
    #: Hooks of the visitor that stamp, each under its own name; None: no visitor.
    hooks: frozenset[str] | None = None


@dataclass(frozen=True)
class Recipe:
    """A canvas to be built."""

    kind: str
    name: str = ""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    immutable: bool = False
    parts: tuple[Recipe, ...] = ()
    body: Recipe | None = None
    links: tuple[Recipe, ...] = ()
    errbacks: tuple[Recipe, ...] = ()
    stamps: tuple[Stamping, ...] = ()

    def __repr__(self) -> str:
        said = {k: v for k, v in vars(self).items() if v and k != "kind"}
        return f"{self.kind}({', '.join(f'{k}={v!r}' for k, v in said.items())})"

    @property
    def results(self) -> int:
        """How many results a chord waits for that has it in its header."""
        if self.kind == "task" or self.kind in _MAPPED:
            return 1
        if self.kind == "group":
            return sum(part.results for part in self.parts)
        if self.body is not None:
            return self.body.results
        return next((n for part in reversed(self.parts) if (n := part.results)), 0)

    @property
    @hides("a header in which nothing counts, such as `chain(group())`")
    def is_fruitless(self) -> bool:
        """Whether it has members without results, and no other, somewhere.

        Celery never sends the body of such a header; Celerant does.
        """
        inside = (*self.parts, *filter(None, (self.body,)))
        if any(part.is_fruitless for part in inside):
            return True
        has_members = self.kind in {"group", "chord"} and not self._is_empty
        return has_members and not any(part.results for part in self.parts)

    @property
    @hides(
        "`append_stamps=True` on the errback of a chord with chords in its header",
    )
    def shares_errbacks(self) -> bool:
        """Whether an errback of a chord is also one of a chord in its header.

        A chord of Celery's copies its header, so that stamps come to each apart.
        """
        inside = (*self.parts, *filter(None, (self.body,)))
        if any(part.shares_errbacks for part in inside):
            return True
        is_linked = self.kind == "chord" and bool(self.errbacks)
        return is_linked and any(part.kind != "task" for part in self.parts)

    @property
    def _is_empty(self) -> bool:
        """Whether there is nothing in it but empty groups."""
        return all(part.kind == "group" and part._is_empty for part in self.parts)

    @property
    def size(self) -> int:
        """Nodes in it."""
        inside = (*self.parts, *self.links, *self.errbacks, *filter(None, (self.body,)))
        return 1 + sum(part.size for part in inside)


@dataclass(frozen=True)
class Call:
    """How a canvas is applied."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@hides("options of `task.chunks(...)`, set with `set`")
def build(recipe: Recipe, lib: Any) -> Any:
    """Build a recipe with a library's `tasks`, `group`, `chain` and `chord`.

    Groups inside groups are written out flat if `lib.flat` is true, without chains
    that have no steps: Celery numbers and orders them in its own way, Celerant as they
    are written.
    """
    parts = [build(part, lib) for part in recipe.parts]
    if recipe.kind in _MAPPED:
        made = getattr(lib.tasks[recipe.name], recipe.kind)(*_ITEMS[recipe.kind])
    elif recipe.kind == "task":
        made = lib.tasks[recipe.name].s(*recipe.args, **recipe.kwargs)
        made.set(immutable=recipe.immutable)
    elif recipe.kind == "group":
        made = lib.group(_flat(parts, lib) if lib.flat else parts)
    elif recipe.kind == "chain":
        made = lib.chain(*parts)
    elif recipe.kind == "pipe":
        made = parts[0]
        for part in parts[1:]:
            made = made | part
    else:
        assert recipe.body is not None
        header = _flat(parts, lib) if lib.flat else parts
        made = lib.chord(header, build(recipe.body, lib))
    # Celery loses options that are set on it, callbacks too.
    return made if made.get("task") == "celery.chunks" else _dressed(made, recipe, lib)


def _dressed(made: Any, recipe: Recipe, lib: Any) -> Any:
    """Give a canvas its options, callbacks and stamps."""
    if recipe.options:
        made.set(**recipe.options)
    for link in recipe.links:
        made.link(build(link, lib))
    for errback in recipe.errbacks:
        made.link_error(build(errback, lib))
    _stamp(made, recipe, lib)
    return made


def _stamp(made: Any, recipe: Recipe, lib: Any) -> None:
    for stamping in recipe.stamps:
        visitor = None
        if stamping.hooks is not None:
            visitor = _visitor(lib.visitor, stamping.hooks)
        made.stamp(visitor, stamping.append, **stamping.headers)


def _visitor(base: type, hooks: frozenset[str]) -> Any:
    """Return a visitor of a library's class."""

    def hook(name: str) -> Any:
        return lambda _self, _part, **_headers: {name: name, "x": name}

    said = {"on_signature": lambda _self, _part, **_headers: {}}
    said.update({name: hook(name) for name in sorted(hooks)})
    return type("Visitor", (base,), said)()


@hides(
    "`group_index` in nested groups",
    "order of nested groups when frozen",
    "a chain without steps among a group's members",
)
def _flat(parts: list[Any], lib: Any) -> list[Any]:
    flat: list[Any] = []
    for part in parts:
        is_group = isinstance(part, lib.group)
        flat += _flat(list(part.tasks), lib) if is_group else [part]
    # If Celery leaves out a chain without steps, its number is left out as well.
    return [part for part in flat if part["subtask_type"] != "chain" or part.tasks]


def outline(canvas: Any) -> tuple[Any, ...]:
    """Return which canvases are in which, groups in groups written out.

    A chain takes a lone member for its group, and does without an empty one: a group
    in the place of that member, written out, may be another canvas.
    """
    kind = canvas["subtask_type"]
    if kind in {"group", "chord"}:
        members = tuple(map(outline, _written_out(list(canvas.tasks))))
        body = outline(canvas.body) if kind == "chord" else None
        return kind, members, body, len(canvas.tasks) == 1
    if kind == "chain":
        return kind, tuple(map(outline, canvas.tasks))
    return (kind,)


def _written_out(members: list[Any]) -> list[Any]:
    written: list[Any] = []
    for member in members:
        kind = member["subtask_type"]
        if kind == "group":
            written += _written_out(list(member.tasks))
        elif kind != "chain" or member.tasks:
            written.append(member)
    return written


_VALUES = st.one_of(
    st.integers(-3, 99), st.text('aé"', max_size=3), st.none(), st.just([1, {"k": 2}])
)
_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(0, 9),
        "shadow": st.sampled_from(["s1", "s2"]),
        "headers": st.just({"x": 1}),
        "soft_time_limit": st.just(5),
        "retries": st.just(2),
        "countdown": st.just(60),
        "expires": st.just(3600),
        "ignore_result": st.booleans(),
        "reply_to": st.just("elsewhere"),
        "serializer": st.just("json"),
        "time_limit": st.just(9),
    },
)
_FEW_OPTIONS = st.one_of(st.just({}), st.just({}), _OPTIONS)


def _tasks(*, links: bool) -> st.SearchStrategy[Recipe]:
    callbacks = (
        st.one_of(
            st.just(()),
            st.just(()),
            st.lists(_tasks(links=False), max_size=2).map(tuple),
        )
        if links
        else st.just(())
    )
    return st.builds(
        Recipe,
        kind=st.just("task"),
        name=st.sampled_from(NAMES),
        args=st.lists(_VALUES, max_size=2).map(tuple),
        kwargs=st.dictionaries(st.sampled_from(["k", "l"]), _VALUES, max_size=1),
        options=_FEW_OPTIONS,
        immutable=st.booleans(),
        links=callbacks,
        errbacks=callbacks,
    )


def _maps() -> st.SearchStrategy[Recipe]:
    return st.builds(
        Recipe,
        kind=st.sampled_from(_MAPPED),
        name=st.sampled_from(NAMES),
        options=_FEW_OPTIONS,
    )


_HOOKS = (
    "on_signature",
    "on_group_start",
    "on_chain_start",
    "on_chord_header_start",
    "on_chord_body",
    "on_callback",
    "on_errback",
)


def _stamps() -> st.SearchStrategy[tuple[Stamping, ...]]:
    """Make calls of `stamp`."""
    stamping = st.builds(
        Stamping,
        headers=st.fixed_dictionaries(
            {},
            optional={
                "x": st.sampled_from([1, "s", None, [1, 2]]),
                "z": st.dictionaries(st.sampled_from(["k", "l"]), st.integers(0, 2)),
            },
        ),
        append=st.booleans(),
        hooks=st.one_of(st.none(), st.frozensets(st.sampled_from(_HOOKS))),
    )
    return st.lists(stamping, max_size=3).map(tuple)


def calls() -> st.SearchStrategy[Call]:
    """Make ways to apply a canvas, most of them plain."""
    options = st.fixed_dictionaries(
        {},
        optional={
            "priority": st.integers(0, 9),
            "countdown": st.just(60),
            "shadow": st.just("called"),
            "headers": st.just({"y": 2}),
            "time_limit": st.just(9),
            "task_id": st.just("00000000-0000-4000-8000-000000000001"),
            "expires": st.just(3600),
            "reply_to": st.just("called"),
        },
    )
    call = st.builds(
        Call,
        args=st.lists(_VALUES, max_size=2).map(tuple),
        kwargs=st.dictionaries(st.just("z"), _VALUES, max_size=1),
        options=options,
    )
    return st.one_of(st.just(Call()), call)


def recipes(
    *, max_nodes: int = 40, stamped: bool = False, mapped: bool = False
) -> st.SearchStrategy[Recipe]:
    """Make recipes of up to `max_nodes` nodes, as a whole stamped or not.

    Args:
        max_nodes: The largest.
        stamped: Whether `stamp` is called of it.
        mapped: Whether there are maps, starmaps and chunks among the tasks.
    """

    def nested(inner: st.SearchStrategy[Recipe]) -> st.SearchStrategy[Recipe]:
        several = st.lists(inner, min_size=1, max_size=4).map(tuple)
        callbacks = st.one_of(
            st.just(()),
            st.just(()),
            st.lists(_tasks(links=False), max_size=1).map(tuple),
        )
        return st.one_of(
            st.builds(
                Recipe,
                kind=st.just("group"),
                parts=st.lists(inner, max_size=4).map(tuple),
                options=_FEW_OPTIONS,
            ),
            st.builds(
                Recipe,
                kind=st.sampled_from(["chain", "pipe"]),
                parts=several,
                options=_FEW_OPTIONS,
            ),
            st.builds(
                Recipe,
                kind=st.just("chord"),
                parts=st.lists(inner, max_size=4).map(tuple),
                body=inner,
                options=_FEW_OPTIONS,
                links=callbacks,
                errbacks=callbacks,
            ),
        )

    leaves = _tasks(links=True)
    if mapped:
        leaves = st.one_of(leaves, leaves, leaves, leaves, _maps())
    made = st.recursive(leaves, nested, max_leaves=12)
    made = made.filter(lambda recipe: recipe.size <= max_nodes)
    made = made.filter(lambda recipe: not recipe.is_fruitless)
    if not stamped:
        return made
    stamped_once = made.filter(lambda recipe: not recipe.shares_errbacks)
    return st.builds(replace, stamped_once, stamps=_stamps())
