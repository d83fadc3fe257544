"""From a broker's message to the request of a registered task.

Source: Celery message protocol 2 as emitted by celery 5.7.0 ``as_task_v2``.
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from kombu.serialization import loads

from celerant.canvas.request import Request
from celerant.config import suggestion
from celerant.limits import NO_LIMITS, Limits
from celerant.telling import line, shown
from celerant.unopened import body_of
from celerant.worker.named import named_exception, not_registered

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

__all__ = ["Delivery", "Reader", "Refused", "timestamp"]

_JSON = "application/json"

#: Headers that go to the request as they are, and the types they have if not null.
_HEADERS: dict[str, type | tuple[type, ...]] = {
    "root_id": str,
    "parent_id": str,
    "group": str,
    "group_index": int,
    "eta": str,
    "expires": str,
    "shadow": str,
    "origin": str,
    "retries": int,
    "stamped_headers": (list, tuple),
    "stamps": dict,
    "replaced_task_nesting": int,
}
_KNOWN = _HEADERS.keys() | {
    "argsrepr",
    "compression",
    "id",
    "ignore_result",
    "kwargsrepr",
    "lang",
    "task",
    "timelimit",
}
_BODY_LENGTH = 3
_LIMITS_LENGTH = 2
_NO_LIMITS = [None, None]
_SHOWN = 80


class Refused(Exception):  # noqa: N818 - a verdict on a message, not our fault
    """A message that cannot be run here.

    `request` is what is known of its task, None where not even the id is;
    `exception` is what its result shall be.
    """

    def __init__(
        self, reason: str, request: Request | None, exception: Exception | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.request = request
        self.exception = exception or named_exception(
            "InvalidTaskError", "celery.exceptions", reason
        )


@dataclass(slots=True, eq=False)
class Delivery:
    """One message on its way to its run."""

    message: Any
    request: Request
    task: Any
    #: Seconds since the epoch; None runs at once.
    due: float | None = None
    #: Seconds since the epoch; None never expires.
    expires: float | None = None
    #: Name of the queue it came from.
    queue: str = ""
    #: Which connection it came by; its tag means nothing on another.
    generation: int = 0


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
        """Read for `tasks`, from bodies whose content type is in `accept`.

        `memory_pid` is the process whose memory the messages are in, if in any;
        `limits` are on the size of bodies and on their depth.
        """
        self.limits = limits
        #: Bytes that can be above no limit.
        self._small = min(limits.size or sys.maxsize, 2 * (limits.depth or sys.maxsize))
        self._memory_pid = memory_pid
        self._tasks = tasks
        self._accept = accept
        self._hostname = hostname

    def read(self, message: Any) -> Delivery:
        """Return the delivery that `message` is.

        Raises:
            Refused: The message is broken or its task is not registered.
        """
        try:
            return self._read(message)
        except Refused:
            raise
        except Exception as exc:
            # No message may stop a worker, whatever is wrong with it.
            msg = f"reading it failed: {type(exc).__name__}: {line(exc)}"
            raise Refused(msg, None) from exc

    def _read(self, message: Any) -> Delivery:
        headers = message.headers
        if not isinstance(headers, dict) or "task" not in headers:
            raise self._without_task(message)
        name, task_id = headers["task"], headers.get("id")
        if not isinstance(task_id, str) or not task_id:
            msg = f"its header 'id' is no text but {shown(task_id, _SHOWN)}"
            raise Refused(msg, None)
        if not isinstance(name, str):
            msg = f"its header 'task' is no text but {shown(name, _SHOWN)}"
            raise Refused(msg, Request(task_id, "unknown"))
        request = Request(
            task_id, name, hostname=self._hostname, memory_pid=self._memory_pid
        )
        _read_properties(message, request)
        task = self._tasks.get(name)
        _read_headers(headers, request)
        wanted = headers.get("ignore_result")
        if wanted is None:
            wanted = False if task is None else task.ignore_result
        request.ignore_result = bool(wanted)
        if task is None:
            near = suggestion(name, frozenset(self._tasks))
            msg = (
                f"task {shown(name, _SHOWN)} is not registered in this worker{near}; "
                f"import the module that defines it, or send it to another queue"
            )
            with contextlib.suppress(Refused):
                # Who waits for what would have followed it is told, too.
                self._read_body(message, request)
            raise Refused(msg, request, not_registered(name))
        self._read_body(message, request)
        delivery = Delivery(message, request, task)
        if request.eta:
            delivery.due = _time("eta", request.eta, request)
        if request.expires:
            delivery.expires = _time("expires", request.expires, request)
        return delivery

    def _without_task(self, message: Any) -> Refused:
        try:
            body = self._decode(message)
        except Exception:  # noqa: BLE001 - then it is no message of protocol 1 either
            body = None
        if isinstance(body, dict) and "task" in body:
            task_id = body.get("id")
            known = None
            if isinstance(task_id, str) and task_id:
                known = Request(task_id, str(body["task"]))
            msg = (
                f"task {shown(body['task'], _SHOWN)} was sent by protocol 1, which is "
                f"not spoken here; set task_protocol = 2 where it is sent"
            )
            return Refused(msg, known)
        msg = "it has no header 'task', so it is no task message"
        return Refused(msg, None)

    def _decode(self, message: Any) -> Any:
        body = message.body
        # Most are neither packed nor large: then they are not looked at further.
        if (
            message.errors
            or getattr(message, "is_packed", True)
            or len(body) > self._small
        ):
            body = body_of(message, self.limits, self._accept)
        if message.content_type == _JSON and _JSON in self._accept:
            text = body if isinstance(body, str) else bytes(body).decode()
            # Only marked objects need kombu's hook, a call for every object.
            if "__type__" not in text:
                value = json.loads(text)
                if len(text) > self._small:
                    self.limits.check_depth(value, text)
                return value
        value = loads(
            body, message.content_type, message.content_encoding, accept=self._accept
        )
        self.limits.check_depth(value)
        return value

    def _read_body(self, message: Any, request: Request) -> None:
        try:
            body = self._decode(message)
        except Exception as exc:
            msg = (
                f"its body ({message.content_type}) cannot be read: "
                f"{type(exc).__name__}: {line(exc)}"
            )
            raise Refused(msg, request) from exc
        if not isinstance(body, (list, tuple)) or len(body) != _BODY_LENGTH:
            msg = f"its body is no [args, kwargs, embed] but {shown(body, _SHOWN)}"
            raise Refused(msg, request)
        args, kwargs, embed = body
        if not isinstance(args, (list, tuple)):
            msg = f"its positional arguments are no list but {shown(args, _SHOWN)}"
            raise Refused(msg, request)
        if not isinstance(kwargs, dict) or not all(isinstance(k, str) for k in kwargs):
            msg = f"its keyword arguments are no object but {shown(kwargs, _SHOWN)}"
            raise Refused(msg, request)
        if embed is not None and not isinstance(embed, dict):
            msg = f"its embed is no object but {shown(embed, _SHOWN)}"
            raise Refused(msg, request)
        request.args, request.kwargs = args, kwargs
        if embed:
            request.callbacks = embed.get("callbacks")
            request.errbacks = embed.get("errbacks")
            request.chain = embed.get("chain")
            request.chord = embed.get("chord")


def _read_properties(message: Any, request: Request) -> None:
    properties = message.properties
    request.reply_to = properties.get("reply_to")
    request.correlation_id = properties.get("correlation_id")
    info = message.delivery_info or {}
    request.delivery_info = {
        "exchange": info.get("exchange"),
        "routing_key": info.get("routing_key"),
        "priority": properties.get("priority"),
        "redelivered": bool(info.get("redelivered")),
    }


def _read_headers(headers: dict[str, Any], request: Request) -> None:
    # Most headers of most messages are empty, as the request's fields already are.
    for name, value in headers.items():
        types = _HEADERS.get(name)
        if types is None:
            if name not in _KNOWN:
                request.headers[name] = value
        elif value is not None:
            if not isinstance(value, types):
                raise _wrong(name, value, request)
            setattr(request, name, value)
    ignore = headers.get("ignore_result")
    if ignore is not None and not isinstance(ignore, (bool, int)):
        msg = "ignore_result"
        raise _wrong(msg, ignore, request)
    limits = headers.get("timelimit")
    if limits is not None:
        request.timelimit = _limits(limits, request)


def _limits(value: Any, request: Request) -> tuple[float | None, float | None]:
    if value == _NO_LIMITS:
        return (None, None)
    if (
        isinstance(value, (list, tuple))
        and len(value) == _LIMITS_LENGTH
        and all(limit is None or isinstance(limit, (int, float)) for limit in value)
    ):
        return (value[0], value[1])
    msg = "timelimit"
    raise _wrong(msg, value, request)


def _wrong(name: str, value: Any, request: Request) -> Refused:
    msg = f"its header {name!r} cannot be {shown(value, _SHOWN)}"
    return Refused(msg, request)


def _time(name: str, text: str, request: Request) -> float:
    try:
        return timestamp(text)
    except (ValueError, OverflowError) as exc:
        raise _wrong(name, text, request) from exc


def timestamp(text: str) -> float:
    """Return the seconds since the epoch that an ISO 8601 text means.

    A text without an offset is UTC, as Celery with ``enable_utc`` sends it.

    Raises:
        ValueError: It is no such text.
    """
    # `fromisoformat` reads a final Z only from Python 3.11 on.
    moment = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] == "Z" else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()
