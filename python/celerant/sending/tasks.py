"""Sends single tasks for an app."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from celerant._core import Roster
from celerant.canvas.kinds import kind_of
from celerant.canvas.send_options import check_links, check_options
from celerant.dispatch.interruption import carry
from celerant.errors import CanvasError
from celerant.results.async_result import AsyncResult
from celerant.results.tracking.members import Members
from celerant.running.in_place import run_signature
from celerant.sending.call import SentCall, new_seed
from celerant.sending.holding import check_held

if TYPE_CHECKING:
    from celerant.canvas.signature import Signature
    from celerant.context.host import App
    from celerant.sending.holding import Frozen
    from celerant.sending.outgoing import Outgoing

__all__ = ["Tasks"]


class Tasks:
    """The door for signatures."""

    def __init__(self, app: App, outgoing: Outgoing) -> None:
        self._app = app
        self._outgoing = outgoing

    def send(
        self,
        signature: Signature[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
        held: Frozen | None = None,
    ) -> AsyncResult[Any]:
        """Send one task; see `Signature.apply_async`."""
        name = signature["task"]
        if self._app.conf.task_always_eager and name in self._app.tasks:
            ran = self.run(signature, args, kwargs, options)
            return ran if held is None else held.result.go_on_as(ran)
        check_options(options, "task", f"task {name}")
        if signature["options"]:
            # What else it has is checked where its message is drawn.
            check_links(signature["options"], "task")
        roster = Roster(new_seed())
        task_id = options.pop("task_id", None)
        given: Mapping[str, Any] = signature
        if task_id:
            named = {**signature.options, "task_id": task_id}
            given = {**signature, "options": named}
        backend, outgoing = self._app.backend, self._outgoing
        losses = backend.losses
        if held is None:
            members = Members(roster, backend, losses=losses)
        else:
            members = held.result.members
            members.send_held(losses)
        if signature["subtask_type"] is not None and kind_of(signature).is_composed:
            # It says that it is what its class is not.
            call = SentCall([given], args, kwargs, options, losses)
            sent = outgoing.dispatch(call.source, roster, call, members, group_id=None)
        else:
            sent = outgoing.dispatch_one(given, roster, args, kwargs, options, members)
        members.roster = roster
        result: AsyncResult[Any]
        result = (
            AsyncResult(roster.id(0), members=members) if held is None else held.result
        )
        if sent.error is not None:
            carry(sent.error, result, sent.report)
            raise sent.error
        outgoing.add_to_parent(result, options)
        return result

    def run(
        self,
        signature: Signature[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
    ) -> AsyncResult[Any]:
        """Run one task in place; see `Signature.apply`."""
        return run_signature(self._app, signature, args, kwargs, options)

    def freeze(
        self, signature: Signature[Any], options: Mapping[str, Any]
    ) -> AsyncResult[Any]:
        """Give a task its id; see `Signature.freeze`."""
        task_id = options.get("task_id") or str(uuid.uuid4())
        frozen_id = signature.options.setdefault("task_id", task_id)
        return AsyncResult(frozen_id, app=self._app)

    def check(
        self,
        signature: Signature[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        """Refuse what could not be sent later."""
        check_options(options, "task", f"task {signature.task}")
        check_held(self._app, signature, "task", args, kwargs)

    def resume(
        self,
        signature: Signature[Any],
        result: Any,  # noqa: ARG002 - as of others
        unknown: Literal["send", "skip"],  # noqa: ARG002 - the same
    ) -> NoReturn:
        """Refuse: one task is sent whole or not at all.

        Raises:
            CanvasError: Always.
        """
        msg = (
            f"task {signature.task}: one task leaves whole or not at all; send it again"
        )
        raise CanvasError(msg, path="task")
