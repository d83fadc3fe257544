"""Sends canvases for an app: the way out, joined with the results it will have."""

from __future__ import annotations

import os
import threading
import uuid
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kombu.common import oid_from

from celerant._core import Ledger, Roster
from celerant.canvas.group import group
from celerant.canvas.request import current_request
from celerant.canvas.signature import Signature
from celerant.dispatch.blueprints import Blueprints, Lineage
from celerant.dispatch.clock import zone_of
from celerant.dispatch.dispatcher import Dispatcher, Order, Sent
from celerant.dispatch.options import check_options
from celerant.dispatch.wires.base import Broken
from celerant.eager import run_group, run_signature
from celerant.errors import CanvasError, CelerantError, ForkError, PublishError
from celerant.freezing import freeze
from celerant.results.group_result import GroupResult
from celerant.results.result import AsyncResult

if TYPE_CHECKING:
    from celerant.app import Celerant

__all__ = ["Sender"]


class Sender:
    """What `Signature` and `group` call when they are applied."""

    def __init__(self, app: Celerant) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._local = threading.local()
        self._pid = os.getpid()
        self._dispatcher: Dispatcher | None = None
        #: How a result's group was sent, for `resume`.
        self._calls: weakref.WeakKeyDictionary[GroupResult[Any], _Call] = (
            weakref.WeakKeyDictionary()
        )

    def close(self) -> None:
        """Close the connections; sending again opens new ones."""
        with self._lock:
            dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is not None:
            dispatcher.close()

    def after_fork(self) -> None:
        """Drop what a child must not share with its parent."""
        self._lock = threading.Lock()
        self._local = threading.local()
        if self._dispatcher is not None:
            self._dispatcher.after_fork()

    def _open(self) -> Dispatcher:
        with self._lock:
            if self._dispatcher is None:
                limit = self._app.conf.broker_pool_limit
                self._dispatcher = Dispatcher(self._app.connection_for_write, limit)
            return self._dispatcher

    def send_signature(
        self,
        signature: Signature[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
    ) -> AsyncResult[Any]:
        """Send one task; see `Signature.apply_async`."""
        if self._app.conf.task_always_eager and signature.task in self._app.tasks:
            return run_signature(self._app, signature, args, kwargs, options)
        check_options(options, f"task {signature.task}")
        roster = Roster(_new_seed())
        task_id = options.pop("task_id", None)
        if task_id:
            signature = signature.clone(task_id=task_id)
        call = _Call(args, kwargs, options, self._app.backend.losses)
        sent = self._send([signature], roster, call, group_id=None)
        result: AsyncResult[Any] = self._group_result(roster, None, sent, call)[0]
        if sent.error is not None:
            if isinstance(sent.error, PublishError):
                sent.error.report = sent.report
            raise sent.error
        self._add_to_parent(result, options)
        return result

    def send_group(
        self,
        members: group[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
    ) -> GroupResult[Any]:
        """Send a group; see `group.apply_async`."""
        if self._app.conf.task_always_eager:
            return run_group(self._app, members, args, kwargs, options)
        check_options(options, "group")
        merged = members.merged_options(options)
        call = _Call(args, kwargs, merged, self._app.backend.losses)
        roster = Roster(members._seed or _new_seed())  # noqa: SLF001 - set by our own freeze
        group_id = call.options.pop("task_id", None) or roster.uuid
        sent = self._send(members["kwargs"]["tasks"], roster, call, group_id=group_id)
        result = self._group_result(roster, group_id, sent, call)
        if sent.error is not None:
            raise self._resumable(sent.error, result, call)
        self._add_to_parent(result, options)
        return result

    def resume_group(
        self, members: group[Any], result: GroupResult[Any], unknown: str
    ) -> GroupResult[Any]:
        """Send what an interrupted dispatch left over; see `group.resume`."""
        if unknown not in {"send", "skip"}:
            msg = f"unknown must be 'send' or 'skip', not {unknown!r}"
            raise ValueError(msg)
        call, report = self._calls.get(result), result.report
        source = members["kwargs"]["tasks"]
        if call is None or report is None:
            msg = "this result is of no interrupted dispatch of this app"
            raise CanvasError(msg, path="group")
        if not isinstance(source, (list, tuple)):
            msg = (
                "a group made from a generator cannot be resumed: its members are gone"
            )
            raise CanvasError(msg, path="group")
        only = report.unsent + report.rejected
        if unknown == "send":
            only += report.unknown
        sent = self._send(
            source,
            result.roster,
            call,
            group_id=result.id,
            only=sorted(only),
            ledger=report.ledger,
        )
        result._renew(sent.barrier, sent.report)  # noqa: SLF001 - the app joins both ways
        if sent.error is not None:
            raise self._resumable(sent.error, result, call)
        return result

    def freeze_group(
        self, members: group[Any], options: dict[str, Any]
    ) -> GroupResult[Any]:
        """Give a group and its members their ids; see `group.freeze`."""
        members.options.update(options)
        seed = members._seed or _new_seed()  # noqa: SLF001 - frozen again: the same ids
        roster, barrier = freeze(members, seed, self._app)
        return GroupResult(
            roster=roster,
            group_id=members.options["task_id"],
            barrier=barrier,
            backend=self._app.backend,
        )

    def apply_signature(
        self,
        signature: Signature[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
    ) -> AsyncResult[Any]:
        """Run one task in place."""
        return run_signature(self._app, signature, args, kwargs, options)

    def apply_group(
        self,
        members: group[Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
    ) -> GroupResult[Any]:
        """Run a group in place."""
        return run_group(self._app, members, args, kwargs, options)

    def _send(  # noqa: PLR0913 - one dispatch's whole context
        self,
        source: Any,
        roster: Roster,
        call: _Call,
        *,
        group_id: str | None,
        only: list[tuple[int, int]] | None = None,
        ledger: Ledger | None = None,
    ) -> Sent:
        self._refuse_forked_memory()
        queues, router = self._app.routes()
        options = call.options
        blueprints = Blueprints(
            self._app.conf,
            queues,
            router,
            self._app.tasks,
            zone=zone_of(self._app.conf),
            reply_to=self._reply_to,
            lineage=Lineage.of(current_request.get()),
            group_id=group_id,
            options=options,
        )
        policy = {
            **self._app.conf.task_publish_retry_policy,
            **(options.get("retry_policy") or {}),
        }
        retry = options.get("retry")
        order = Order(
            source=source,
            roster=roster,
            blueprints=blueprints,
            args=call.args,
            kwargs=call.kwargs,
            grouped=group_id is not None,
            retry=self._app.conf.task_publish_retry if retry is None else retry,
            retry_policy=policy,
            producer=options.get("producer"),
            only=only,
            repr_levels=self._app.conf.task_repr_maxlevels,
            ledger=Ledger() if ledger is None else ledger,
        )
        return self._open().dispatch(order)

    def _refuse_forked_memory(self) -> None:
        app = self._app
        if not str(app.conf.broker_url).startswith("memory:"):
            return
        if os.getpid() != self._pid:
            msg = (
                f"app {app.name!r} sends through memory of process {self._pid}, which "
                f"its forked child {os.getpid()} does not share; use a broker, or make "
                "the app after the fork"
            )
            raise ForkError(msg, created_in_pid=self._pid)
        request = current_request.get()
        if request is not None and request.memory_pid not in {0, os.getpid()}:
            msg = (
                f"task {request.task} runs in child process {os.getpid()} of the "
                f"worker in process {request.memory_pid}; what it sends through "
                f"memory:// of app {app.name!r} would never leave the child: use a "
                "broker such as redis://, or pool='threads'"
            )
            raise ForkError(msg, created_in_pid=request.memory_pid)

    def _group_result(
        self, roster: Roster, group_id: str | None, sent: Sent, call: _Call
    ) -> GroupResult[Any]:
        return GroupResult(
            roster=roster,
            group_id=group_id or roster.uuid,
            barrier=sent.barrier,
            backend=self._app.backend,
            report=sent.report,
            losses=call.losses,
        )

    def _resumable(
        self, error: BaseException, result: GroupResult[Any], call: _Call
    ) -> BaseException:
        if isinstance(error, PublishError):
            error.result, error.report = result, result.report
            self._calls[result] = call
        return error

    @staticmethod
    def _add_to_parent(result: Any, options: Mapping[str, Any]) -> None:
        request = current_request.get()
        if request is not None and options.get("add_to_parent", True):
            request.children.append(result.as_tuple())

    def _reply_to(self, is_needed: bool) -> str:  # noqa: FBT001 - called by position alone
        """Return where the results of what is sent go; open there if one is to come."""
        try:
            queue = self._app.backend.reply_to(is_needed=is_needed)
        except CelerantError as exc:
            msg = f"nothing would receive the results: {exc}"
            raise Broken(msg, recoverable=True) from exc
        if queue is not None:
            return queue
        try:
            oid: str = self._local.oid
        except AttributeError:
            oid = self._local.oid = oid_from(self._app)
        return oid


class _Call:
    """With what a group was sent."""

    __slots__ = ("args", "kwargs", "losses", "options")

    def __init__(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
        losses: int,
    ) -> None:
        self.args = args
        self.kwargs = kwargs
        self.options = options
        #: The backend's, before the first message left.
        self.losses = losses


def _new_seed() -> bytes:
    return uuid.uuid4().bytes
