"""Chords in a result backend: it counts parts, and the last completes the chord.

Source: ``on_chord_part_return``, ``set_chord_size`` and ``apply_chord`` of
``celery.backends.redis`` of celery 5.7.0.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from celerant.errors import CelerantError, ChordError
from celerant.results.backends.beside import Beside
from celerant.results.tracking.exceptions import rebuild, shown
from celerant.states import PROPAGATE_STATES

if TYPE_CHECKING:
    from celerant.context.request import Request
    from celerant.results.tracking.record import Codec

__all__ = ["ChordCounter", "ChordResults", "CompleteChord"]

#: The index of a part without a `group_index`, which comes after all others.
_LAST = "+inf"


class ChordCounter(ABC):
    """Keeps the parts of chord headers until all are there.

    A chord has the id of its header group. The worker that adds the last part gets a
    claim, which is the right to send the body for some time.
    """

    @abstractmethod
    def set_sizes(self, sizes: Mapping[str, int]) -> None:
        """Set how many parts each chord has, in one round trip."""

    @abstractmethod
    def grow(self, group_id: str, more: int) -> None:
        """Expect `more` parts more."""

    @abstractmethod
    def count(
        self, group_id: str, task_id: str, index: int | str, part: bytes, *, token: str
    ) -> bool:
        """Add a part, once for each task and index; True if `token` gets the claim."""

    @abstractmethod
    def parts(self, group_id: str) -> Iterator[bytes]:
        """Return the parts, ordered by index or by arrival."""

    @abstractmethod
    def renew(self, group_id: str, token: str, seconds: float) -> bool:
        """Keep a claim for `seconds` from now; False if another worker has it."""

    @abstractmethod
    def finish(self, group_id: str, token: str) -> bool:
        """Forget the chord and ignore late parts; False if another has the claim."""

    @abstractmethod
    def save_header(self, group_id: str, payload: bytes) -> None:
        """Keep the form of a header with groups inside."""

    @abstractmethod
    def delete_header(self, group_id: str) -> None:
        """Delete the form that `save_header` kept."""

    @abstractmethod
    def header(self, group_id: str) -> bytes | None:
        """Return the form that `save_header` kept."""


class CompleteChord:
    """A chord with all of its parts, for the worker that sends its body."""

    def __init__(
        self, backend: ChordResults, counter: ChordCounter, group_id: str, token: str
    ) -> None:
        """Hold the claim `token` on the chord `group_id`."""
        self._backend = backend
        self._counter = counter
        self._token = token
        #: The id of the header's group.
        self.group_id = group_id

    def values(self) -> list[Any]:
        """Return the values of the header's tasks, in the order of the header.

        Raises:
            ChordError: A task failed, or has no stored result although one is needed.
        """
        form = self._backend.restore_group(self.group_id)
        if form is not None:
            return self._nested(form)
        return [value for _, value in self._parts()]

    def ids(self) -> list[str]:
        """Return the ids of the tasks of a flat header, in its order.

        No more than some thousand of their values are kept meanwhile.

        Raises:
            ChordError: As `values`.
        """
        return [task_id for task_id, _ in self._parts()]

    def form(self) -> Any:
        """Return the form of a header that has groups in it; None if it is flat.

        Raises:
            ChordError: As `values`.
        """
        form = self._backend.restore_group(self.group_id)
        if form is not None:
            self._nested(form)
        return form

    def _parts(self) -> Iterator[tuple[str, Any]]:
        """Yield the id and the value of each task of a flat header."""
        decode = self._backend.codec.decode
        for part in self._counter.parts(self.group_id):
            _, task_id, state, stored = decode(part)
            yield task_id, _value(task_id, state, stored)

    def renew(self, seconds: float) -> bool:
        """Keep the claim for `seconds` from now; False if another worker has it."""
        return self._counter.renew(self.group_id, self._token, seconds)

    def finish(self) -> bool:
        """Forget the chord; False if another worker has the claim by now."""
        return self._counter.finish(self.group_id, self._token)

    def _nested(self, form: Any) -> list[Any]:
        """Return the values of a nested header, in its form.

        They come from the records, because the parts are flat.
        """
        ids = list(_leaves(form))
        records = dict(zip(ids, self._backend.fetch(ids), strict=True))

        def value(node: Any) -> Any:
            (task_id, _parent), members = node
            if members is not None:
                return [value(member) for member in members]
            meta = self._backend.decode(records[task_id])
            if not meta:
                msg = (
                    f"Join error: no result of {task_id} is stored; tasks of a header "
                    "with groups in it must not ignore their results"
                )
                raise ChordError(msg, task_id=task_id)
            return _value(task_id, meta["status"], meta["result"])

        values: list[Any] = value(form)
        return values


class ChordResults(Beside):
    """The part of a result backend that chords need."""

    codec: Codec

    @abstractmethod
    def fetch(self, ids: Sequence[str]) -> list[bytes | None]:
        """Return the stored records of `ids`; None for each that has none."""

    @abstractmethod
    def decode(self, payload: Any) -> dict[str, Any]:
        """Return a record's fields; ``{}`` if there is no record."""

    def chord_counter(self) -> ChordCounter | None:
        """Return the counter of parts; None if the backend cannot count."""
        return None

    def ensure_chords_allowed(self) -> None:
        """Check that the backend counts parts, before a chord is sent.

        Raises:
            CelerantError: It does not, as on ``rpc://`` and without a result backend.
        """
        self._counting()

    def set_chord_size(self, group_id: str, size: int) -> None:
        """Set how many parts a chord has; see `set_chord_sizes`."""
        self.set_chord_sizes({group_id: size})

    def set_chord_sizes(self, sizes: Mapping[str, int]) -> None:
        """Set how many parts chords have, in one round trip.

        Call it before a header's first message leaves, because the last part needs it.

        Args:
            sizes: The number of parts by the id of the header's group.

        Raises:
            CelerantError: The backend refused, is not reachable or counts no chords.
        """
        if sizes:
            self._counting().set_sizes(sizes)

    def add_to_chord(self, group_id: str, more: int = 1) -> None:
        """Expect `more` parts more of a running chord.

        Raises:
            CelerantError: As for `set_chord_sizes`.
        """
        self._counting().grow(group_id, more)

    def on_chord_part(
        self, request: Request, state: str, result: Any
    ) -> CompleteChord | None:
        """Count the outcome of a header's task.

        A task at an index counts once, however often it runs.

        Returns:
            The chord if this part completes it; the caller sends the body then.

        Raises:
            EncodeError: The serializer does not take the result; it is not counted.
            CelerantError: As for `set_chord_sizes`.
        """
        return self.count_part(request, self.encode_part(request, state, result))

    def encode_part(self, request: Request, state: str, result: Any) -> bytes:
        """Return the part to count, without a round trip.

        Raises:
            EncodeError: The serializer does not take the result.
            BaseException: The result's own code may raise anything.
        """
        return self.codec.pack([1, request.id, state, self.codec.plain(result, state)])

    def count_part(self, request: Request, part: bytes) -> CompleteChord | None:
        """Count an encoded part, as `on_chord_part` does."""
        if not request.group:
            return None
        counter = self._counting()
        index = _LAST if request.group_index is None else request.group_index
        token = uuid.uuid4().hex
        if counter.count(request.group, request.id, index, part, token=token):
            return CompleteChord(self, counter, request.group, token)
        return None

    def save_group(self, group_id: str, form: Any) -> None:
        """Keep the form of a group, such as a chord header with groups inside.

        Args:
            group_id: The group's id.
            form: The form, as of ``GroupResult.as_tuple()``.

        Raises:
            CelerantError: As for `set_chord_sizes`.
        """
        self._counting().save_header(group_id, self.codec.pack({"result": form}))

    def restore_group(self, group_id: str) -> Any:
        """Return the form that `save_group` kept; None if there is none."""
        payload = self._counting().header(group_id)
        return self.codec.decode(payload)["result"] if payload else None

    def delete_group(self, group_id: str) -> None:
        """Delete the form that `save_group` kept.

        Raises:
            CelerantError: As for `set_chord_sizes`.
        """
        self._counting().delete_header(group_id)

    def _counting(self) -> ChordCounter:
        counter = self.chord_counter()
        if counter is None:
            self._refuse_chords()
        return counter

    def _refuse_chords(self) -> NoReturn:
        msg = (
            f"chords need a result backend that counts the tasks of their header, and "
            f"{self.as_uri()} does not: use redis://, sentinel:// or memory:// "
            f"(a group followed by a task is a chord, too)"
        )
        raise CelerantError(msg)


def _value(task_id: str, state: str, stored: Any) -> Any:
    if state not in PROPAGATE_STATES:
        return stored
    msg = f"Dependency {task_id} raised {shown(stored)}"
    meta = {"result": stored}
    raise ChordError(msg, task_id=task_id) from rebuild(
        meta, is_revoked=state == "REVOKED"
    )


def _leaves(form: Any) -> Iterator[str]:
    (task_id, _parent), members = form
    if members is None:
        yield task_id
    for member in members or ():
        yield from _leaves(member)
