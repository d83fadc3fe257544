"""The stored record of a result: Celery's "meta".

Source: ``celery.backends.base`` of celery 5.7.0. ``_get_result_meta`` has the keys and
their order, ``prepare_exception`` the form of an exception, and ``compress_payload``
the mark before a compressed record.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from kombu.compression import compress
from kombu.serialization import dumps, loads, prepare_accept_content, registry
from kombu.utils import json as kombu_json

from celerant._core import success_record
from celerant.common.foreign import args_of, is_a, said, stored_as
from celerant.common.limits import NO_LIMITS, Limits
from celerant.common.printable import shown
from celerant.common.with_form import plain_value
from celerant.context.request import Request
from celerant.errors import EncodeError, SettingError
from celerant.states import EXCEPTION_STATES, READY_STATES, SUCCESS

__all__ = ["Codec"]

_COMPRESSED = b"\x00celery-compressed\x00"
#: Kept, because kombu makes one for each value, which takes half of the time.
_JSON = kombu_json.JSONEncoder()
#: Serializers that can carry exception objects.
_CARRY_EXCEPTIONS = frozenset({"pickle", "yaml"})


@dataclass(frozen=True)
class Codec:
    """How records are written and read.

    Raises:
        SettingError: kombu does not know the serializer or compression.
    """

    serializer: str = "json"
    accept: Iterable[str] | None = ("json",)
    compression: str | None = None
    extended: bool = False
    #: The limits of records that are read.
    limits: Limits = NO_LIMITS
    _content_type: str = field(init=False, default="")
    _content_encoding: str = field(init=False, default="")
    _accepted: frozenset[str] | None = field(init=False, default=None)
    #: Whether records are plain JSON and have nothing besides a result.
    _is_plain: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        # The lookup that celery itself makes: kombu has no public one.
        known = registry._encoders  # noqa: SLF001
        if self.serializer not in known:
            msg = (
                f"result_serializer {self.serializer!r} is unknown to kombu here; "
                f"it has {', '.join(sorted(known))} (others need their packages)"
            )
            raise SettingError(msg, name="result_serializer")
        content_type, encoding, _ = known[self.serializer]
        object.__setattr__(self, "_content_type", content_type)
        object.__setattr__(self, "_content_encoding", encoding)
        accepted = prepare_accept_content(self.accept)
        object.__setattr__(self, "_accepted", accepted)
        is_plain = self.serializer == "json" and not (self.compression or self.extended)
        object.__setattr__(self, "_is_plain", is_plain)
        if self.compression is not None:
            try:
                compress(b"", self.compression)
            except KeyError as exc:
                msg = f"result_compression {self.compression!r} is unknown to kombu"
                raise SettingError(msg, name="result_compression") from exc

    @property
    def content(self) -> tuple[str, str]:
        """Content type and encoding of records that are written."""
        return self._content_type, self._content_encoding

    @property
    def accepted(self) -> frozenset[str] | None:
        """Content types that may be read; None is all that kombu enables."""
        return self._accepted

    def encode(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None,
        request: Request | None,
    ) -> bytes:
        """Return the record to store.

        Raises:
            EncodeError: The serializer does not take the result.
        """
        if state == SUCCESS and traceback is None and request is not None:
            record = self._short(task_id, result, request)
            if record is not None:
                return record
        meta: dict[str, Any] = {
            "status": state,
            "result": self.plain(result, state),
            "traceback": traceback,
            "children": None if request is None else list(request.children),
            "date_done": _now() if state in READY_STATES else None,
        }
        if request is not None:
            meta.update(self._about(request))
        meta["task_id"] = task_id
        try:
            return self.pack(meta)
        except EncodeError as exc:
            exc.task = request.task if request is not None else ""
            raise

    def _short(self, task_id: str, result: Any, request: Request) -> bytes | None:
        """Return the record of a plain success; None for any other result."""
        if request.children or not (self._is_plain and _writes_json_itself()):
            return None
        group, parent = request.group, request.parent_id
        return success_record(task_id, result, group, parent, time.time())

    def plain(self, result: Any, state: str) -> Any:
        """Return a value or an exception as a record holds it."""
        if state in EXCEPTION_STATES and is_a(result, BaseException):
            return self._exception(result)
        return plain_value(result, self.serializer)

    def pack(self, value: Any) -> bytes:
        """Return a value as bytes, compressed if the setting says so.

        Raises:
            EncodeError: The serializer does not take the value.
        """
        try:
            if self.serializer == "json" and _writes_json_itself():
                payload = _JSON.encode(value)
            else:
                payload = dumps(value, serializer=self.serializer)[2]
        except Exception as exc:
            msg = (
                f"the result cannot be stored: serializer {self.serializer!r} "
                f"does not take it ({said(exc)}); return plain data or set "
                "result_serializer"
            )
            raise EncodeError(msg) from exc
        raw = payload.encode() if isinstance(payload, str) else bytes(payload)
        if self.compression is None:
            return raw
        body, content_type = compress(raw, self.compression)
        return b"".join((_COMPRESSED, content_type.encode(), b"\x00", body))

    def decode(self, payload: bytes | str) -> Any:
        """Return the value of `payload`, as kombu reads it.

        Raises:
            TooMuchError: The record is over the limits; the rest was not unpacked.
            Exception: The serializer's own.
        """
        limits = self.limits
        raw = payload.encode() if isinstance(payload, str) else payload
        limits.check_size(len(raw))
        if raw.startswith(_COMPRESSED):
            content_type, _, body = raw[len(_COMPRESSED) :].partition(b"\x00")
            raw = limits.unpack(body, content_type.decode())
        value = loads(
            raw,
            content_type=self._content_type,
            content_encoding=self._content_encoding,
            accept=self._accepted,
        )
        limits.check_depth(value, raw if self.serializer == "json" else None)
        return value

    def _exception(self, exc: BaseException) -> Any:
        if self.serializer in _CARRY_EXCEPTIONS and _survives(exc):
            return exc
        name, module = stored_as(type(exc))
        return {
            "exc_type": name,
            "exc_message": [self._storable(arg) for arg in args_of(exc)],
            "exc_module": module,
        }

    def _storable(self, value: Any) -> Any:
        """Return a value, or its text if it cannot be written and read."""
        try:
            self.pack(value)
        except EncodeError:
            return shown(value)
        is_pickled = self.serializer in _CARRY_EXCEPTIONS
        return shown(value) if is_pickled and not _survives(value) else value

    def _about(self, request: Request) -> dict[str, Any]:
        meta: dict[str, Any] = {}
        if request.group:
            meta["group_id"] = request.group
        if request.parent_id:
            meta["parent_id"] = request.parent_id
        if self.extended:
            meta.update(
                name=request.task,
                args=request.args,
                kwargs=request.kwargs,
                worker=request.hostname,
                retries=request.retries,
                queue=(request.delivery_info or {}).get("routing_key"),
            )
            if request.stamps:
                names = request.stamped_headers or ()
                meta["stamped_headers"] = request.stamped_headers
                meta.update({k: v for k, v in request.stamps.items() if k in names})
        return meta


def _writes_json_itself() -> bool:
    """Whether kombu's serializer "json" still has kombu's own encoder."""
    return registry._encoders["json"][2] is kombu_json.dumps  # noqa: SLF001 - kombu has no public lookup


def _survives(value: object) -> bool:
    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes
    except Exception:  # noqa: BLE001 - a reducer may raise anything
        return False
    return True


def _now() -> str:
    # By the clock of `success_record`: tests may freeze it.
    return datetime.fromtimestamp(time.time(), timezone.utc).isoformat()
