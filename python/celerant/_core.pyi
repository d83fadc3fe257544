"""The Rust core, as seen from Python."""

from collections.abc import Callable, Sequence
from inspect import Signature
from typing import Any, Literal, final

__all__ = [
    "Barrier",
    "Chunk",
    "Form",
    "Ledger",
    "Plan",
    "Roster",
    "Template",
    "build_info",
    "count_results",
    "freeze",
    "lower",
    "unroll",
]

def lower(
    canvas: object,
    roster: Roster,
    *,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: dict[str, Any],
    reply_to: str,
    readable: list[type],
    mapped: type,
    links_errors_to_headers: bool = False,
) -> tuple[
    list[dict[str, Any]],
    list[tuple[str, int, tuple[Any, Any] | None]],
    tuple[Any, Any] | None,
    bool,
]: ...
def freeze(
    canvas: object,
    roster: Roster,
    *,
    reply_to: str,
    readable: list[type],
    mapped: type,
) -> tuple[dict[str, Any], tuple[Any, Any]]: ...
def count_results(source: object, *, readable: list[type], mapped: type) -> int: ...
def build_info() -> dict[str, str]: ...

@final
class Roster:
    """The ids of one dispatch's members: derived from a seed, or the member's own."""

    def __new__(cls, seed: bytes, count: int = 0) -> Roster: ...
    @property
    def seed(self) -> bytes: ...
    @property
    def uuid(self) -> str: ...
    @property
    def prefix(self) -> str: ...
    def __len__(self) -> int: ...
    def resize(self, count: int) -> None: ...
    def adopt(self, index: int, task_id: str) -> None: ...
    def id(self, index: int) -> str: ...
    def ids(self, start: int, stop: int) -> list[str]: ...
    def select(self, indices: list[int]) -> list[str]: ...
    def index(self, task_id: str) -> int | None: ...
    def own(self) -> dict[int, str]: ...
    def outcome(self, index: int) -> tuple[Any, Any] | None: ...
    def outcomes(self) -> list[tuple[int, int, list[Any]]]: ...
    def place(self, start: int, stop: int, shape: Sequence[Any]) -> None: ...

@final
class Barrier:
    """Which members of a dispatch are done: one byte each, and who asks pays O(1)."""

    PENDING: int
    SUCCESS: int
    FAILURE: int
    REVOKED: int
    IGNORED: int
    NOT_SENT: int
    EXPIRED: int
    def __new__(cls) -> Barrier: ...
    def grow(self, n: int) -> int: ...
    def arrive(
        self, index: int, state: int
    ) -> Literal["pending", "completed", "duplicate"]: ...
    def arrive_range(self, start: int, stop: int, state: int) -> bool: ...
    def seal(self, n: int) -> Literal["pending", "completed", "duplicate"]: ...
    @property
    def is_complete(self) -> bool: ...
    @property
    def is_sealed(self) -> bool: ...
    @property
    def remaining(self) -> int: ...
    def __len__(self) -> int: ...
    def state(self, index: int) -> int: ...
    def counts(self) -> list[int]: ...
    def count(self, state: int) -> int: ...
    def pending(self, start: int, limit: int) -> list[int]: ...
    def select(self, state: int, start: int, limit: int) -> list[int]: ...
    def states(self) -> bytes: ...
    def inherit(self, previous: Barrier, but: int) -> bool: ...
    def absorb(
        self,
        indices: list[int],
        payloads: list[bytes | None],
        values: list[Any],
    ) -> tuple[bool, int | None, list[int]]: ...

def unroll(
    source: object, *, readable: list[type], mapped: type
) -> list[dict[str, Any] | tuple[str, Any, dict[str, Any]]]: ...

@final
class Ledger:
    """Which members are confirmed, rejected, unknown and unsent."""

    def __new__(cls) -> Ledger: ...
    def __len__(self) -> int: ...
    def grow(self, total: int) -> None: ...
    def expect(self, chunk: Chunk) -> None: ...
    def mark(self, chunk: Chunk, state: str) -> None: ...
    def mark_index(self, index: int, state: str) -> None: ...
    def count(self, state: str) -> int: ...
    def intervals(self, state: str) -> list[tuple[int, int]]: ...
    def state(self, index: int) -> str | None: ...

@final
class Form:
    """A message's constant bytes in the form of one wire."""

    @staticmethod
    def redis(
        pieces: Sequence[str | tuple[str]],
        key: bytes,
        expire: list[tuple[bytes, int]],
    ) -> Form: ...
    @staticmethod
    def amqp(
        method: bytes,
        before: bytes,
        table: Sequence[bytes | tuple[str]],
        after: Sequence[bytes | tuple[str]],
    ) -> Form: ...
    @staticmethod
    def loose(form: object) -> Form: ...

@final
class Template:
    """A form, and how the members that have it are read."""

    def __new__(
        cls,
        form: Form,
        *,
        encode: Callable[[Any, Any], bytes],
        embed: bytes | None,
        parameters: Signature | None,
        ignored: bool,
        reusable: bool,
        timed: bool,
        heard: object = None,
    ) -> Template: ...

@final
class Chunk:
    """Members as owned data: what a wire encodes, and what kombu publishes."""

    def __len__(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def has_wired(self) -> bool: ...
    def ranges(self) -> list[tuple[int, int]]: ...
    def id(self, position: int) -> str: ...
    def wired(self) -> list[int]: ...
    def ignored(self) -> list[tuple[int, int]]: ...
    def chord_sizes(self) -> list[tuple[str, int, tuple[Any, Any] | None]]: ...
    @property
    def results(self) -> int: ...
    def select(self, positions: list[int]) -> Chunk: ...
    def redis(
        self, mark: bytes | None, value: int, entropy: bytes
    ) -> tuple[bytes, int]: ...
    def by_route(self) -> list[tuple[int, list[int]]]: ...
    def amqp(
        self, channel: int, frame_max: int, start: int, max_bytes: int
    ) -> tuple[bytes, int]: ...
    def loose(self) -> list[tuple[Any, str, int, int, str, str, bytes]]: ...
    def heard(
        self,
    ) -> list[
        tuple[Any, str, int, int, str, str, Any, dict[str, Any], dict[str, Any] | None]
    ]: ...
    def rewritten(
        self,
        members: Sequence[
            tuple[
                Template | None,
                Any,
                dict[str, Any],
                dict[str, Any] | None,
                Sequence[bytes],
            ]
        ],
    ) -> Chunk: ...

@final
class Plan:
    """Reads the members of a canvas chunk by chunk."""

    def __new__(
        cls,
        roster: Roster,
        resolver: Callable[[str, Any, Any, Any], Template],
        final_resolver: Callable[[str, Any, Any, Any], Template],
        reply_to: Callable[[], str],
        vet: Callable[[Any, bool], bool],
        source: object,
        *,
        readable: list[type],
        mapped: type,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any],
        grouped: bool,
        only: list[tuple[int, int]] | None = None,
        positions: list[int] | None = None,
        repr_levels: int = 3,
        balanced_reprs: bool = True,
        links_errors_to_headers: bool = False,
    ) -> Plan: ...
    @property
    def holds(self) -> bool: ...
    @property
    def count(self) -> int: ...
    @property
    def without_messages(self) -> list[int]: ...
    @property
    def failed_at(self) -> str | None: ...
    def read(self, members: int, len_bytes: int) -> Chunk | None: ...
    def skip_rest(self) -> None: ...
