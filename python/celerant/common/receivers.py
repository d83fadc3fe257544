"""Receivers of signals: Celery's own signals if Celery is in use, else ours.

A program that has imported neither ``celery.signals`` nor ``celerant.signals`` has no
connected anything: then telling costs a look for those modules.
"""

from __future__ import annotations

import inspect
import logging
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from celerant.common.foreign import is_interrupt

__all__ = ["SIGNALS", "Signal", "heard", "tell"]

logger = logging.getLogger("celerant")

#: All signals, by Celery's names.
SIGNALS = (
    "before_task_publish",
    "after_task_publish",
    "task_sent",
    "task_received",
    "task_prerun",
    "task_postrun",
    "task_success",
    "task_failure",
    "task_retry",
    "task_revoked",
    "task_rejected",
    "task_unknown",
    "task_internal_error",
    "celeryd_init",
    "celeryd_after_setup",
    "import_modules",
    "worker_init",
    "worker_ready",
    "worker_shutting_down",
    "worker_shutdown",
    "worker_before_create_process",
    "worker_process_init",
    "worker_process_shutdown",
)


class Signal:
    """Calls its receivers; one that raises is logged, and the others are called."""

    def __init__(self, name: str) -> None:
        self.name = name
        #: (its key, the receiver or a weak reference to it), as Celery keeps them.
        self.receivers: list[tuple[tuple[Any, Any], Any]] = []
        self._lock = threading.Lock()

    def connect(
        self,
        receiver: Callable[..., Any] | None = None,
        sender: Any = None,
        weak: bool = True,  # noqa: FBT001, FBT002 - Celery's form
        dispatch_uid: Any = None,
    ) -> Any:
        """Call `receiver` from now on; also as a decorator, with or without arguments.

        Args:
            receiver: A function that takes any keyword arguments.
            sender: Only for this one: a task, or for messages the task's name.
            weak: Forget it when it has no other reference.
            dispatch_uid: Only one receiver is connected under it.
        Raises:
            ValueError: It takes no keyword arguments.
        """
        if not callable(receiver):
            return lambda made: self.connect(made, sender, weak, dispatch_uid)
        if not _takes_keywords(receiver):
            msg = f"receiver {receiver!r} of {self.name} must take keyword arguments"
            raise ValueError(msg)
        name = dispatch_uid or _key(receiver)
        kept: Any = receiver
        if weak:
            is_method = hasattr(receiver, "__self__") and hasattr(receiver, "__func__")
            kept = (weakref.WeakMethod if is_method else weakref.ref)(receiver)
        with self._lock:
            self._drop_dead()
            of = _keys(sender)
            if not any(key[0] == name and key[1] in of for key, _ in self.receivers):
                self.receivers.append(((name, _key(sender)), kept))
        return receiver

    def disconnect(
        self, receiver: Any = None, sender: Any = None, dispatch_uid: Any = None
    ) -> bool:
        """Stop calling it; return whether it was connected."""
        name, of = dispatch_uid or _key(receiver), _keys(sender)
        with self._lock:
            left = [
                entry
                for entry in self.receivers
                if entry[0][0] != name or entry[0][1] not in of
            ]
            is_found = len(left) < len(self.receivers)
            self.receivers[:] = left
        return is_found

    def has_listeners(self, sender: Any = None) -> bool:
        """Whether this sender has receivers."""
        return bool(self._live_receivers(sender))

    def send(self, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        """Call all receivers of this sender; return their values or exceptions."""
        responses: list[tuple[Any, Any]] = []
        for receiver in self._live_receivers(sender):
            try:
                response = receiver(signal=self, sender=sender, **named)
            except BaseException as exc:
                if is_interrupt(exc):
                    raise
                logger.exception("receiver %r of %s raised", receiver, self.name)
                response = exc
            responses.append((receiver, response))
        return responses

    send_robust = send

    def _live_receivers(self, sender: Any) -> list[Any]:
        wanted = {_key(None), *_keys(sender)}
        with self._lock:
            kept = [kept for (_, of), kept in self.receivers if of in wanted]
        return _alive(kept)

    def _drop_dead(self) -> None:
        self.receivers[:] = [
            entry
            for entry in self.receivers
            if not isinstance(entry[1], weakref.ReferenceType) or entry[1]() is not None
        ]

    def __repr__(self) -> str:
        return f"<Signal: {self.name}>"


def _key(target: Any) -> Any:
    if isinstance(target, (str, bytes)):
        return target
    function = getattr(target, "__func__", None)
    if function is not None:
        return id(getattr(target, "__self__", None)), id(function)
    return id(target)


def _keys(sender: Any) -> set[Any]:
    """Return the keys of a sender: its own, and those of all that stand for it."""
    others = sender.stand_ins if hasattr(type(sender), "stand_ins") else ()
    return {_key(sender), *map(_key, others)}


def _alive(kept: list[Any]) -> list[Any]:
    found = [one() if isinstance(one, weakref.ReferenceType) else one for one in kept]
    return [receiver for receiver in found if receiver is not None]


def _takes_keywords(receiver: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.kind is p.VAR_KEYWORD for p in parameters)


_modules = sys.modules


def heard() -> Any:
    """Return the module whose signals may have receivers; None if there are none."""
    return _modules.get("celery.signals") or _modules.get("celerant.signals")


def tell(name: str, sender: Any, /, **named: Any) -> None:
    """Send a signal if it may have receivers; errors of receivers are logged."""
    signal = getattr(heard(), name, None)
    if signal is None or not signal.receivers:
        return
    try:
        signal.send(sender=sender, **named)
    except BaseException as exc:
        # Celery's own signals let through exceptions that are no Exception.
        if is_interrupt(exc):
            raise
        logger.exception("a receiver of %s raised", name)
    if not isinstance(signal, Signal):
        _tell_of_stand_ins(signal, name, sender, named)


def _tell_of_stand_ins(
    signal: Any, name: str, sender: Any, named: dict[str, Any]
) -> None:
    """Call the receivers that are connected to what stands for a sender.

    Celery's signals find the receivers of the sender itself.
    """
    others = _keys(sender) - {_key(sender)}
    if not others:
        return
    entries = list(signal.receivers)
    called = {who for (who, of), _ in entries if of == _key(sender)}
    kept = [kept for (who, of), kept in entries if of in others and who not in called]
    for receiver in _alive(kept):
        try:
            receiver(signal=signal, sender=sender, **named)
        except BaseException as exc:
            if is_interrupt(exc):
                raise
            logger.exception("receiver %r of %s raised", receiver, name)
