"""Sending once a database transaction is committed, and not at all otherwise."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from django.db import transaction

if TYPE_CHECKING:
    from celerant.context.call import Call

__all__ = ["send_on_commit"]

_ROLLED_BACK = (
    "the database transaction at whose commit it was to be sent was rolled back"
)


def send_on_commit(canvas: Any, call: Call, using: str | None) -> Any:
    """Freeze a canvas, let the commit send it, and return its result.

    Outside of a transaction it is sent at once. Django tells nobody about a rollback:
    it drops the function that it would call at commit, and dropping that tells the
    result.

    Args:
        canvas: A canvas of any kind.
        call: The arguments and options of `apply_async`.
        using: The database's alias; None: the default one.
    """
    held = canvas.app.sender.hold(canvas, call, unsent=_ROLLED_BACK)
    result = held.result
    thread, shown = threading.get_ident(), result.id

    def refuse() -> None:
        if threading.get_ident() != thread:
            return
        if transaction.get_connection(using).in_atomic_block:
            msg = (
                f"waiting for {shown} inside the transaction at whose commit it is "
                "sent would last for ever: wait after the atomic block"
            )
            raise RuntimeError(msg)

    held.refuse_waiting(refuse)
    transaction.on_commit(held.send, using=using)
    return result
