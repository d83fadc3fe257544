"""The part of a message that many members share.

A `Blueprint` is a message with slots for the fields that differ by member. The wires
render it, with kombu's own encoders, into the bytes that the Rust core splices.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kombu.compression import compress, get_encoder
from kombu.exceptions import SerializerNotInstalled
from kombu.serialization import dumps, registry

from celerant.canvas.plain import plain
from celerant.config import nearest
from celerant.dispatch.lasting import encoder_of
from celerant.errors import EncodeError, SettingError

__all__ = ["OWN", "SLOTS", "Blueprint", "BodyEncoder"]

#: Shows whether an encoder writes JSON as the Rust core does.
_PROBE: list[Any] = [[1, 1.5], {"a": None}, "\u00e9/"]
_PROBE_JSON = json.dumps(_PROBE)

#: By serializer: its encoder, since another may be registered under the name, and the
#: text that the encoder makes of the probe.
_PROBED: dict[str, tuple[Any, tuple[str, str, Any]]] = {}

_NONCE = secrets.token_hex(8)

#: Text in place of a field that differs by member; random, so that no user's text is
#: the same.
SLOTS: dict[str, str] = {
    name: f"celerant-{_NONCE}-{name}"
    for name in ("id", "group_index", "argsrepr", "kwargsrepr", "body", "tag")
}

#: Slots for headers that a member has of its own, as a wire's `header` encodes them.
OWN: tuple[str, ...] = tuple(f"own{number}" for number in range(4))
SLOTS.update((name, f"celerant-{_NONCE}-{name}") for name in OWN)


@dataclass(slots=True, frozen=True)
class Blueprint:
    """A message with `SLOTS`, its destination, and the members that it serves."""

    headers: dict[str, Any]
    properties: dict[str, Any]
    exchange: str
    routing_key: str
    #: Queues and exchanges that must exist before.
    declare: tuple[Any, ...]
    priority: int | None
    delivery_mode: int
    mandatory: bool | None
    immediate: bool
    retry: bool
    retry_policy: dict[str, Any]
    timeout: float | None
    confirm_timeout: float | None
    body: BodyEncoder
    #: Whether there is no result; False too if neither task nor settings say so.
    ignored: bool = False
    #: False if it depends on the member's arguments.
    reusable: bool = True
    #: True if it holds an absolute time, so for this chunk only.
    timed: bool = False
    #: For the `Listener` of the dispatch; None: it hears of no member with this
    #: blueprint.
    heard: Any = None


class BodyEncoder:
    """Makes the bodies that the Rust core does not make itself."""

    __slots__ = (
        "_compression",
        "_dump_models",
        "_embed",
        "_serializer",
        "compression",
        "content_encoding",
        "content_type",
        "plain",
    )

    def __init__(
        self,
        embed: dict[str, Any],
        serializer: str,
        compression: str | None,
        *,
        dump_models: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    ) -> None:
        """Look up serializer and compression.

        Args:
            embed: The third item of a body.
            serializer: Its name.
            compression: Its name, if any.
            dump_models: Makes plain data of a task's models among the arguments.
        Raises:
            SettingError: A name that kombu does not have.
        """
        # Pickle takes models as they are.
        self._dump_models = None if serializer == "pickle" else dump_models
        self._embed = embed
        self._serializer = serializer
        self._compression = compression
        try:
            self.content_type, self.content_encoding, probe = _probed(serializer)
        except SerializerNotInstalled:
            near = nearest(str(serializer), frozenset(registry.name_to_type))
            hint = f"; did you mean {near!r}" if near else ""
            msg = f"unknown serializer {serializer!r}{hint}"
            raise SettingError(msg, name="serializer", nearest=near) from None
        #: Content type of the compression, for the header; None without.
        self.compression: str | None = None
        if compression:
            try:
                _, self.compression = get_encoder(compression)
            except KeyError:
                msg = f"unknown compression {compression!r}"
                raise SettingError(msg, name="compression") from None
        #: Whether the Rust core may write plain values itself.
        # Another encoder may be registered under kombu's name for JSON.
        self.plain: bool = (
            self.content_type == "application/json"
            and not compression
            and probe == _PROBE_JSON
        )

    def embed_json(self) -> bytes:
        """Return the third item of a body, as kombu writes it."""
        return _bytes(dumps(self._embed, "json")[2])

    def __call__(
        self, args: Any, kwargs: Any, embed: dict[str, Any] | None = None
    ) -> bytes:
        """Encode one body.

        Args:
            args: The member's.
            kwargs: The member's.
            embed: Its own third item; None: the third item of all members.
        Raises:
            EncodeError: The serializer refuses the arguments.
        """
        embed = self._embed if embed is None else embed
        if self._dump_models is not None:
            args, kwargs = self._dump_models(args, kwargs)
        try:
            if self.content_type != "application/json":
                # JSON has no classes, and a stock worker has none of ours.
                embed = {name: plain(canvases) for name, canvases in embed.items()}
            _, _, payload = dumps((args, kwargs, embed), self._serializer)
        except Exception as exc:
            msg = (
                f"{self._serializer} does not take an argument: {exc}; send plain "
                "data, or choose another serializer (task_serializer, serializer=)"
            )
            raise EncodeError(msg, value_type=_culprit(exc)) from exc
        body = _bytes(payload)
        if self._compression:
            body, _ = compress(body, self._compression)
        return body


def _probed(serializer: str) -> tuple[str, str, Any]:
    """Return the text that kombu's `dumps` makes of the probe."""
    encoder = encoder_of(serializer)
    known = _PROBED.get(serializer)
    if known is not None and known[0] is encoder:
        return known[1]
    found: tuple[str, str, Any] = dumps(_PROBE, serializer)
    if encoder is not None:
        _PROBED[serializer] = encoder, found
    return found


def _bytes(payload: str | bytes) -> bytes:
    return payload.encode() if isinstance(payload, str) else payload


def _culprit(exc: BaseException) -> str:
    # json says "Object of type X is not JSON serializable".
    words = str(exc).split("Object of type ", 1)
    return words[1].split(" ", 1)[0] if len(words) > 1 else ""
