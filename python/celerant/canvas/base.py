"""The methods that signatures, groups, chains and chords share."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from celerant.canvas.composing import joined
from celerant.canvas.data import CanvasData, maybe_signature, positional
from celerant.canvas.flattening import deep_copy, restored, rows_of
from celerant.canvas.showing import called, shown
from celerant.canvas.stamping import stamp
from celerant.common.listed import listed
from celerant.common.listing import without
from celerant.context.call import Call, given
from celerant.errors import CanvasError, CelerantError
from celerant.markup import lines

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack
    from typing_extensions import TypeVar as WithDefault

    from celerant.canvas.options import ApplyOptions, SendOptions
    from celerant.canvas.stamping import StampingVisitor
    from celerant.context.host import App

    Result_co = WithDefault("Result_co", default=Any, covariant=True)
else:
    Result_co = TypeVar("Result_co", covariant=True)

__all__ = ["Canvas", "check_callback"]

R = TypeVar("R")

#: Members and steps of one canvas.
_SHOWN_IN_NOTEBOOKS = 10


#: Public for other rooms of the package only.
_INTERNAL = frozenset({"merged", "merged_options", "own_app", "partial", "seed"})


class Canvas(CanvasData, Generic[R, Result_co]):
    """What signatures, groups, chains and chords share.

    ``Canvas[R]`` is one whose tasks, or whose end, return an `R`. Its classes add the
    type of the result that a send returns.
    """

    __slots__ = ()

    if not TYPE_CHECKING:
        # By one parameter too: a type variable's default is newer than Python 3.10.
        __class_getitem__ = classmethod(GenericAlias)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: App | None = None) -> Any:
        """Return the canvas that a plain dict describes, of the kind that it says.

        Raises:
            CanvasError: The dict is no signature.
        """
        return maybe_signature(d, app)

    def delay(self, *args: Any, **kwargs: Any) -> Result_co:
        """Send it; short for ``apply_async(args, kwargs)``."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> Result_co:
        """Send it and return a handle to its result.

        A chain's first step leaves, and the other steps travel with it. A chord's
        header leaves, and the body travels with each of its messages.

        Args:
            args: Prepended to the arguments of its task, of every member of a group or
                header, or of a chain's first step; an immutable signature keeps its
                own.
            kwargs: Override those.
            options: Celery's names: `countdown` (s), `eta`, `expires`, `queue`, ...
                A group's options are for every member, over its own, and `task_id`
                names the group. A chain's `task_id` names the last step, and a chord's
                the body; `link` follows these tasks, and `link_error` is for all.
        Returns:
            A task's `AsyncResult`; a group's `GroupResult`; the result of a chain's
            last step, whose `parent` leads to the first, or None if there are no steps;
            the result of a chord's body, whose `parent` is the header's `GroupResult`.
        Raises:
            CanvasError, SettingError, TypeError: Before anything is sent.
            EncodeError: The serializer does not take an argument; nothing is sent of a
                list of up to 16 MiB.
            PublishError: The broker refused or vanished; ``exc.report`` says which
                members of a group or header are in, and `resume` sends the rest.
        Cost: O(n) time; a group's list is not copied, a generator is not held.
        """
        if type(args) is not tuple:
            args = positional(args)
        call = Call(args, kwargs or {}, given(options))
        result: Result_co = self.app.sender.send(self, call)
        return result

    async def asend(self, **options: Unpack[SendOptions]) -> Result_co:
        """Send it from an event loop, which goes on meanwhile; see `Celerant.asend`.

        A group's members may come from an async iterable: the loop draws them, and the
        call returns at once.

        Args:
            options: As `apply_async`.
        Raises:
            Exception: As of `apply_async`.
        """
        result: Result_co = await self.app.asend(self, **options)
        return result

    def apply_async_on_commit(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        using: str | None = None,
        **options: Unpack[SendOptions],
    ) -> Result_co:
        """Send it once Django's transaction is committed.

        All in it is frozen and checked now: its result and ids are there at once. A
        generator is held. If a serializer refuses a value, the commit raises that.

        Outside of a transaction it is sent at once. After a rollback nothing was sent,
        and the result says so with `NotSent`, as do its parents.

        Args:
            args: As `apply_async`.
            kwargs: As `apply_async`.
            using: The database's alias; None: the default one.
            options: As `apply_async`; times count from the commit.
        Raises:
            CelerantError: Django is not installed.
            RuntimeError: Later, by `get` inside the same transaction.
            CanvasError, SettingError, TypeError: As `apply_async`, now.
        """
        try:
            from celerant.canvas.on_commit import send_on_commit  # noqa: PLC0415 - an extra
        except ModuleNotFoundError as exc:
            if (exc.name or "").partition(".")[0] != "django":
                raise
            msg = "sending on commit needs Django: pip install 'celerant[django]'"
            raise CelerantError(msg) from exc
        call = Call(positional(args), kwargs or {}, given(options))
        result: Result_co = send_on_commit(self, call, using)
        return result

    def apply(
        self,
        args: tuple[Any, ...] | list[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[ApplyOptions],
    ) -> Result_co:
        """Run all in it here, one after the other; return the finished result.

        Args:
            args: As `apply_async`.
            kwargs: As `apply_async`.
            options: As `apply_async`, and `throw`: raise the exception of a task.
        """
        call = Call(positional(args), kwargs or {}, given(options))
        result: Result_co = self.app.sender.run(self, call)
        return result

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Send it; keywords are options here, as in Celery."""
        return self.apply_async(args, **options)

    def __invert__(self) -> Any:
        """Send it and wait for its result: ``~add.s(1, 2)``."""
        result: Any = self.apply_async()
        return result.get()

    def on_error(self, errback: Canvas[Any]) -> Self:
        """Call `errback` if this fails; returns self."""
        self.link_error(errback)
        return self

    def stamp(
        self,
        visitor: StampingVisitor | None = None,
        append_stamps: bool = False,  # noqa: FBT001, FBT002 - Celery's name and form
        **headers: Any,
    ) -> Self:
        """Put headers of your own on every message of this canvas; returns self.

        All tasks in it are stamped in place, with their callbacks and errbacks; a
        generator's when they come out of it. A chord's body is stamped by visitors
        alone, as in Celery.

        Args:
            visitor: Says of each part how it is stamped.
            append_stamps: Whether a stamp that is there already becomes a list of both;
                else the one from further out stays.
            headers: Stamps of every task, by name.
        Raises:
            CanvasError: A canvas that contains itself, is nested more than 256 deep, or
                has a member that is no canvas.
        """
        stamp(self, visitor, headers, append=append_stamps)
        return self

    def partial(
        self,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[SendOptions],
    ) -> Self:
        """Return a copy with arguments and options merged in, as `clone`."""
        made: Self = self.clone(args, kwargs, **options)
        return made

    def flatten_links(self) -> list[Any]:
        """Return it, its callbacks, and theirs, nearest first."""
        found: list[Any] = []
        waiting: list[Any] = [self]
        seen: set[int] = set()
        while waiting:
            canvas = waiting.pop()
            if id(canvas) not in seen:
                seen.add(id(canvas))
                found.append(canvas)
                links = listed(canvas.options.get("link"))
                waiting += [maybe_signature(one, self._app) for one in links[::-1]]
        return found

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the call as text, with these arguments added, long ones cut."""
        return called(self.task, (*args, *self.args), {**self.kwargs, **kwargs})

    if TYPE_CHECKING:
        # Each kind has these, with types of its own.

        def link(self, callback: Any) -> Any:
            """Send `callback` once it has succeeded."""

        def link_error(self, errback: Any) -> Any:
            """Call `errback` if this fails."""

        def freeze(self) -> Result_co:
            """Give it its ids for good."""

    def __or__(self, other: Any) -> Any:
        """Return a canvas that runs `other` with this one's result.

        It is a chain; a chord if this one is a group. If this one is a chord, `other`
        follows its body.
        """
        return joined(self, other)

    def __ror__(self, other: Any) -> Any:
        """Return ``other | self`` for another's signature in plain dict form."""
        return maybe_signature(other, self._app) | self

    def __ior__(self, other: Any) -> Any:
        # dict's own would merge two signatures in place and lose one.
        return self | other

    def __copy__(self) -> Self:
        # Pickling drops the app; a copy in this process keeps it.
        made: Self = self.clone()
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (rows_of(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return deep_copy(self, memo)

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        return shown(self)

    def __dir__(self) -> list[str]:
        return without(self, _INTERNAL)

    def _repr_html_(self) -> str:
        """Return it for a notebook: a line for each of the first tasks."""
        from celerant.canvas.reading import text_of  # noqa: PLC0415 - few look

        title = str(self.get("subtask_type") or "signature")
        return lines(title, text_of(self, _SHOWN_IN_NOTEBOOKS))


def check_callback(canvas: Canvas[Any], option: str, callback: Any) -> None:
    """Refuse a callback that no worker could send.

    Raises:
        CanvasError: The callback is no canvas.
    """
    if not isinstance(callback, dict):
        msg = (
            f"{canvas.task}: {option} takes a signature, not "
            f"{type(callback).__name__}; use task.s(...)"
        )
        raise CanvasError(msg, path=option)
