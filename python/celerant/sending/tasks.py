"""Sends single tasks for an app."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from celerant._core import Roster
from celerant.canvas.kinds import kind_of
from celerant.canvas.send_options import check_links, check_options
from celerant.dispatch.interruption import carry
from celerant.results.async_result import AsyncResult
from celerant.results.tracking.members import Members
from celerant.running.in_place import run_signature
from celerant.sending.call import SentCall, new_seed

if TYPE_CHECKING:
    from celerant.canvas.signature import Signature
    from celerant.context.call import Call
    from celerant.context.host import App
    from celerant.sending.holding import Frozen
    from celerant.sending.outgoing import Outgoing

__all__ = ["Tasks"]


class Tasks:
    """The door for signatures."""

    run = staticmethod(run_signature)

    def __init__(self, app: App, outgoing: Outgoing) -> None:
        self._app = app
        self._outgoing = outgoing

    def check(self, signature: Signature[Any], options: dict[str, Any]) -> str:
        """Refuse options that no call has; return the path of the task."""
        check_options(options, "task", f"task {signature['task']}")
        return "task"

    def send(
        self, signature: Signature[Any], call: Call, held: Frozen | None = None
    ) -> AsyncResult[Any]:
        """Send one task; see `Signature.apply_async`."""
        app, outgoing = self._app, self._outgoing
        if app.conf.task_always_eager and signature["task"] in app.tasks:
            ran = self.run(app, signature, call)
            return ran if held is None else held.result.go_on_as(ran)
        options = call.options
        check_options(options, "task", f"task {signature['task']}")
        if signature["options"]:
            # Its other options are checked when its message is drawn.
            check_links(signature["options"], "task")
        roster = Roster(new_seed())
        task_id = options.pop("task_id", None)
        given: Mapping[str, Any] = signature
        if task_id:
            named = {**signature.options, "task_id": task_id}
            given = {**signature, "options": named}
        backend = app.backend
        losses = backend.losses
        if held is None:
            members = Members(roster, backend, losses=losses)
        else:
            members = held.result.members
            members.send_held(losses)
        if signature["subtask_type"] is not None and kind_of(signature).is_composed:
            # Its `subtask_type` is not its class's.
            of_one = SentCall([given], *call, losses)
            sent = outgoing.dispatch(
                of_one.source, roster, of_one, members, group_id=None
            )
        else:
            sent = outgoing.dispatch_one(given, roster, call, members)
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

    def freeze(
        self, signature: Signature[Any], options: Mapping[str, Any]
    ) -> AsyncResult[Any]:
        """Give a task its id; see `Signature.freeze`."""
        task_id = options.get("task_id") or str(uuid.uuid4())
        frozen_id = signature.options.setdefault("task_id", task_id)
        return AsyncResult(frozen_id, app=self._app)
