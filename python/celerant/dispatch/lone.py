"""One task by itself: of what sending many takes, a group's part is left out.

It is read by the same plan and carried by the same wires.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kombu import Producer

from celerant._core import Ledger, Plan, Roster
from celerant.canvas.kinds import readable_types
from celerant.canvas.source import Mapped
from celerant.dispatch.blueprints import Blueprints
from celerant.dispatch.link import Link
from celerant.dispatch.rendering import Renderer
from celerant.dispatch.run import CHUNK_BYTES, Run, no_canvas

__all__ = ["Lone", "LoneOrder"]


@dataclass(slots=True)
class LoneOrder:
    """A task to send, and under which id."""

    #: A signature that is neither chain, chord nor group.
    signature: Mapping[str, Any]
    roster: Roster
    blueprints: Blueprints
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    retry: bool
    retry_policy: Mapping[str, Any]
    producer: Producer | None
    #: Nested containers that `argsrepr` shows.
    repr_levels: int


class Lone(Run):
    """The state of sending one."""

    def __init__(self, order: LoneOrder) -> None:
        super().__init__(
            order.roster,
            Ledger(),
            order.retry_policy,
            retry=order.retry,
            producer=order.producer,
        )
        self._renderer = Renderer(order.blueprints)
        resolve = self._renderer.resolve
        self._plan = Plan(
            order.roster,
            resolve,
            resolve,
            order.blueprints.reply_to,
            no_canvas,
            (order.signature,),
            readable=readable_types(),
            mapped=Mapped,
            args=order.args,
            kwargs=dict(order.kwargs),
            options=order.blueprints.call,
            grouped=False,
            repr_levels=order.repr_levels,
        )

    def _send_all(self, link: Link) -> None:
        self._renderer.link = link
        chunk = self._plan.read(1, CHUNK_BYTES)
        assert chunk is not None  # noqa: S101 - there is one member
        self._count_rest()
        self._ledger.expect(chunk)
        self._ignored += chunk.ignored()
        self._refuse_forked()
        self._started = True
        self._carry(link, chunk)
        if link.wire is not None:
            link.wire.flush()

    def _count_rest(self) -> None:
        self._ledger.grow(1)

    def _path(self, index: int) -> str:  # noqa: ARG002 - it is the only one
        return "task"
