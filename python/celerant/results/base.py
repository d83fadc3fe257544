"""The common part of the results of tasks and groups."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from celerant.common.listing import without
from celerant.common.with_form import WithForm
from celerant.results.graph import ResultGraph
from celerant.results.saving import copied, reduced
from celerant.results.tracking.forms import form_with_parents, ids_in
from celerant.results.tree import CLASSES

if TYPE_CHECKING:
    from typing_extensions import Self

    from celerant.results.backends.base import Backend
    from celerant.results.tracking.members import Members

__all__ = ["Result"]


#: Attributes for other rooms of the package, which `dir` does not show.
_INTERNAL = frozenset(
    {
        "go_on_as",
        "kind",
        "lone",
        "member_forms",
        "members",
        "position",
        "record",
        "roster",
        "sent_again",
        "sent_in",
        "settle",
        "settle_member",
    }
)


class Result(WithForm):
    """A view on members: on one of them, or on a group."""

    __slots__ = ()

    #: Whether it is the result of a task or of a group.
    kind: ClassVar[Literal["task", "group"]]
    id: str
    #: The members, for the rest of the package.
    members: Members
    #: The index of the member that it is a view on; None is all of them.
    position: int | None

    def __init_subclass__(
        cls, *, kind: Literal["task", "group"] | None = None, **options: Any
    ) -> None:
        super().__init_subclass__(**options)
        if kind is not None:
            cls.kind = kind
            CLASSES[kind] = cls

    def __dir__(self) -> list[str]:
        return without(self, _INTERNAL)

    @property
    def backend(self) -> Backend:
        """The store of results."""
        return cast("Backend", self.members.backend)

    def go_on_as(self, sent: Self) -> Self:
        """Become the result of a held canvas that was sent under the same ids."""
        self.members.adopt(sent.members)
        return self

    @abstractmethod
    def settle(self, state: int) -> None:
        """End all waits of this process, with `Barrier.IGNORED` or `NOT_SENT`."""

    @abstractmethod
    def task_ids(self) -> list[str]:
        """Return the ids of its tasks, those inside a group's members included."""

    @abstractmethod
    def member_forms(self) -> list[Any] | None:
        """Return the forms of a group's members; None for a task."""

    def as_tuple(self) -> tuple[tuple[str, Any], Any]:
        """Return the form, as Celery does: ``((id, parent), None or [members])``."""
        form: tuple[tuple[str, Any], Any] = form_with_parents(self)
        return form

    def as_list(self) -> list[str]:
        """Return the ids of all tasks in it and before it."""
        return list(ids_in(self.as_tuple()))

    def build_graph(
        self,
        intermediate: bool = False,  # noqa: FBT001, FBT002 - Celery's form
    ) -> ResultGraph:
        """Return the tree of results before this one and sent by its tasks.

        Args:
            intermediate: Whether tasks may be unfinished.

        Raises:
            IncompleteStream: A task is not done, and `intermediate` is False.
        """
        return ResultGraph(self, intermediate=intermediate)

    @property
    def graph(self) -> ResultGraph:
        """The present tree of this result; see `build_graph`."""
        return self.build_graph()

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __reduce__(self) -> tuple[Any, ...]:
        return reduced(self)

    def __copy__(self) -> Any:
        # A pickle is made again by the app's name, and two apps may have one name.
        return copied(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copied(self)
