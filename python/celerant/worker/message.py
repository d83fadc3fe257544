"""Read a broker's message into the request of a registered task.

Source: Celery message protocol 2 as emitted by celery 5.7.0 ``as_task_v2``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kombu.serialization import loads

from celerant.common.foreign import class_name
from celerant.common.limits import NO_LIMITS, Limits
from celerant.common.printable import line, shown
from celerant.common.stock_errors import not_registered
from celerant.common.unopened import body_of
from celerant.config import suggestion
from celerant.context.request import Request
from celerant.running.embed import read_embed
from celerant.worker.headers import (
    is_text,
    read_headers,
    read_properties,
    read_time,
    wrong,
)
from celerant.worker.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

__all__ = ["Delivery", "Reader"]

_JSON = "application/json"

_BODY_LENGTH = 3
#: The depth at which the core's JSON reader gives up: 200 lists or objects with items,
#: and an empty one inside.
_DEEPEST = 201
#: The most bytes of a message that the core reads: its values take many times as many.
_LONGEST = 1 << 20
#: How many characters of a wrong value a refusal may show.
_SHOWN = 80
_scan: Any = vars(json.JSONDecoder())["scan_once"]


@dataclass(slots=True, eq=False)
class Delivery:
    """A message with its request and its task, on its way to a run."""

    message: Any
    request: Request
    task: Any
    #: When it may run, in seconds since the epoch; None is at once.
    due: float | None = None
    #: When it expires, in seconds since the epoch; None is never.
    expires: float | None = None
    #: Name of the queue that it came from.
    queue: str = ""
    #: The number of the connection that brought it; another does not know its tag.
    generation: int = 0
    #: Whether its task has run. The outcome may not be stored yet.
    has_run: bool = False
    #: Whether it was acknowledged because its task has begun.
    is_forgotten: bool = False


class Reader:
    """Reads messages for the tasks of one app."""

    def __init__(
        self,
        tasks: Mapping[str, Any],
        accept: AbstractSet[str],
        hostname: str | None = None,
        *,
        memory_pid: int = 0,
        limits: Limits = NO_LIMITS,
    ) -> None:
        """Read messages for `tasks`.

        Args:
            tasks: The app's tasks by name.
            accept: Content types of bodies that are read.
            hostname: The worker's name.
            memory_pid: The process whose memory holds the messages; 0 if a broker does.
            limits: The largest size and depth of bodies.
        """
        self.limits = limits
        #: Content types of bodies that are read.
        self.accept = accept
        #: A body of at most this many bytes is within both limits.
        self._small = min(limits.size or sys.maxsize, 2 * (limits.depth or sys.maxsize))
        #: The most bytes of a message that the core may read; 0: it reads none. What it
        #: has read is within the limits, for it reads no deeper.
        self.longest = 0
        if _JSON in accept and (limits.depth or _DEEPEST) >= _DEEPEST:
            self.longest = min(limits.size or _LONGEST, _LONGEST)
        self._memory_pid = memory_pid
        self._tasks = tasks
        self._hostname = hostname

    def read(self, message: Any) -> Delivery:
        """Return a message's delivery.

        Raises:
            Refused: The message is broken or its task is not registered.
        """
        request = None
        try:
            delivery = self._ready(message)
            if delivery is None:
                request = self._request(message)
                delivery = self._read(message, request)
        except Refused as refused:
            refused.message = message
            raise
        except BaseException as exc:
            # No message may stop a worker, whatever it contains.
            unread = _unread(exc, request)
            unread.message = message
            raise unread from exc
        return delivery

    def _ready(self, message: Any) -> Delivery | None:
        """Return a delivery whose request is read already; None: it is to be read."""
        fields = getattr(message, "fields", None)
        if fields is None:
            return None
        task = self._tasks.get(fields["task"])
        if task is None:
            return None
        fields["hostname"] = self._hostname
        if self._memory_pid:
            fields["memory_pid"] = self._memory_pid
        if "ignore_result" not in fields:
            try:
                fields["ignore_result"] = bool(task.ignore_result)
            except BaseException:  # noqa: BLE001 - the user's code; `_read` refuses it
                return None
        return Delivery(message, Request.of_fields(fields), task)

    def _request(self, message: Any) -> Request:
        """Return the request of a message that has a task's name and an id."""
        headers = message.headers
        if not isinstance(headers, dict) or "task" not in headers:
            raise self._without_task(message)
        name, task_id = headers["task"], headers.get("id")
        if not isinstance(task_id, str) or not task_id or not is_text(task_id):
            msg = f"its header 'id' is no text but {shown(task_id, _SHOWN)}"
            raise Refused(msg, None)
        return Request(
            task_id,
            name if isinstance(name, str) else "unknown",
            hostname=self._hostname,
            memory_pid=self._memory_pid,
        )

    def _read(self, message: Any, request: Request) -> Delivery:
        name, headers = request.task, message.headers
        task = self._tasks.get(name)
        if task is not None and headers.get("ignore_result") is None:
            request.ignore_result = bool(task.ignore_result)
        delivery = Delivery(message, request, task)
        # If one part is wrong, the others are read all the same: the failure must also
        # reach the waiters for later tasks.
        problem = read_properties(message, request)
        problem = read_headers(headers, request) or problem
        if not isinstance(headers["task"], str):
            problem = wrong("task", headers["task"], request)
        if problem is None and task is None:
            near = suggestion(name, frozenset(self._tasks))
            reason = (
                f"task {shown(name, _SHOWN)} is not registered in this worker"
                f"{near}; import the module that defines it, or send it to another "
                f"queue"
            )
            problem = Refused(reason, request, not_registered(name))
        try:
            self._read_body(message, request)
            delivery.due = read_time("eta", request.eta, request)
            delivery.expires = read_time("expires", request.expires, request)
        except Refused as refused:
            problem = problem or refused
        if problem is not None:
            raise problem
        return delivery

    def _without_task(self, message: Any) -> Refused:
        try:
            body = self._decode(message)
        except BaseException:  # noqa: BLE001 - an unreadable body is no protocol 1 either
            body = None
        if isinstance(body, dict) and "task" in body:
            task_id = body.get("id")
            known = None
            if isinstance(task_id, str) and task_id:
                known = Request(task_id, str(body["task"]))
            msg = (
                f"task {shown(body['task'], _SHOWN)} was sent by protocol 1, "
                f"which is not spoken here; set task_protocol = 2 where it is sent"
            )
            return Refused(msg, known)
        msg = "it has no header 'task', so it is no task message"
        return Refused(msg, None)

    def _decode(self, message: Any) -> Any:
        body = message.body
        # Most bodies are neither compressed nor large, and need no check.
        if (
            message.errors
            or getattr(message, "is_packed", True)
            or len(body) > self._small
        ):
            body = body_of(message, self.limits, self.accept)
        if message.content_type == _JSON and _JSON in self.accept:
            text = body if isinstance(body, str) else bytes(body).decode()
            # kombu's hook costs a call for each object; only marked ones need it.
            if "__type__" not in text:
                value = _plain_json(text)
                if len(text) > self._small:
                    self.limits.check_depth(value, text)
                return value
        value = loads(
            body, message.content_type, message.content_encoding, accept=self.accept
        )
        self.limits.check_depth(value)
        return value

    def _read_body(self, message: Any, request: Request) -> None:
        try:
            body = self._decode(message)
        except BaseException as exc:
            msg = (
                f"its body ({message.content_type}) cannot be read: "
                f"{class_name(exc)}: {line(exc)}"
            )
            raise Refused(msg, request) from exc
        if not isinstance(body, (list, tuple)) or len(body) != _BODY_LENGTH:
            msg = f"its body is no [args, kwargs, embed] but {shown(body, _SHOWN)}"
            raise Refused(msg, request)
        args, kwargs, embed = body
        if embed is None or isinstance(embed, dict):
            problem = read_embed(embed, request) if embed else None
        else:
            problem = f"its embed is no object but {shown(embed, _SHOWN)}"
        if not isinstance(args, (list, tuple)):
            problem = f"its positional arguments are no list but {shown(args, _SHOWN)}"
        elif not isinstance(kwargs, dict) or not all(
            isinstance(name, str) for name in kwargs
        ):
            problem = f"its keyword arguments are no object but {shown(kwargs, _SHOWN)}"
        else:
            request.args, request.kwargs = args, kwargs
        if problem is not None:
            raise Refused(problem, request)


def _plain_json(text: str) -> Any:
    """Return a text's value, faster than `json.loads`, which checks for spaces."""
    try:
        value, end = _scan(text, 0)
    except StopIteration:
        end = -1
    return value if end == len(text) else json.loads(text)


def _unread(exc: BaseException, request: Request | None) -> Refused:
    msg = f"reading it failed: {class_name(exc)}: {line(exc)}"
    return Refused(msg, request)
