"""The remote control commands that a worker answers, under Celery's names.

Each command also takes unknown arguments, since newer senders have more of them. Each
returns values that JSON can represent.
Source: ``celery.worker.control`` of celery 5.7.0.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celerant.worker.adjustment import ADJUSTMENTS
from celerant.worker.inspection import INSPECTIONS
from celerant.worker.worker_state import bears

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from celerant.worker.panel import Panel

__all__ = ["COMMANDS"]

logger = logging.getLogger("celerant.worker")


def revoke(
    panel: Panel,
    task_id: str | list[str],
    terminate: bool = False,  # noqa: FBT001, FBT002 - the command's argument
    signal: str | int | None = None,
    **_: Any,
) -> Any:
    """Keep tasks from running; with `terminate`, also end running ones."""
    ids = {task_id} if isinstance(task_id, str) else set(task_id or ())
    panel.revoke_ids(ids)
    if not terminate:
        logger.info("revoked: %s", _listed(ids))
        return {"ok": f"tasks {_listed(ids)} flagged as revoked"}
    ended = panel.terminate_where(lambda request: request.id in ids, signal)
    return {"ok": f"terminate: {', '.join(ended) or 'tasks unknown'}"}


def terminate(panel: Panel, signal: str, task_id: str | list[str], **_: Any) -> Any:
    """Revoke tasks, and end running ones by a signal."""
    return revoke(panel, task_id, terminate=True, signal=signal)


def revoke_by_stamped_headers(
    panel: Panel,
    headers: dict[str, Any] | list[str],
    terminate: bool = False,  # noqa: FBT001, FBT002 - the command's argument
    signal: str | int | None = None,
    **_: Any,
) -> Any:
    """Keep tasks with these stamps from running.

    With `terminate`, also end running ones.
    """
    if isinstance(headers, list):
        headers = dict(header.split("=", 1) for header in headers)
    stamps = {name: _set_of(value) for name, value in headers.items()}
    panel.worker_state.revoked.add_stamps(stamps)
    panel.end_revoked()
    logger.info("revoked by stamps: %s", headers)
    if not terminate:
        return {"ok": f"headers {headers} flagged as revoked, but not terminated"}
    ended = panel.terminate_where(lambda request: bears(request, stamps), signal)
    verb = "revoked" if ended else "were not terminated"
    return {"ok": f"headers {headers} {verb}"}


def enable_events(panel: Panel, **_: Any) -> Any:
    """Tell monitors of tasks."""
    already = "" if panel.events.enable() else "already "
    return {"ok": f"task events {already}enabled"}


def disable_events(panel: Panel, **_: Any) -> Any:
    """Stop telling monitors of tasks."""
    already = "" if panel.events.disable() else "already "
    return {"ok": f"task events {already}disabled"}


def heartbeat(panel: Panel, **_: Any) -> Any:
    """Send monitors a heartbeat now; they ask for it when they start."""
    panel.events.heartbeat()


def hello(
    panel: Panel,
    from_node: str,
    revoked: Iterable[str] | None = None,
    sender: str | None = None,
    **_: Any,
) -> Any:
    """Exchange revoked ids with a worker that starts."""
    # Celery's workers name no sender.
    own = from_node == panel.hostname if sender is None else sender == panel.identity
    if own:
        return None
    panel.worker_state.revoked.add(revoked or ())
    panel.end_revoked()
    state = panel.worker_state
    return {"revoked": state.revoked.ids(), "clock": state.clock.forward()}


def shutdown(
    panel: Panel, msg: str = "shutdown asked for by remote control", **_: Any
) -> Any:
    """Stop the worker once its running tasks have ended."""
    logger.warning("%s", msg)
    panel.shutdown()


def _set_of(value: Any) -> set[Any]:
    return set(value) if isinstance(value, (list, tuple, set)) else {value}


def _listed(ids: set[str]) -> str:
    shown = ", ".join(sorted(ids)[:10])
    return shown if len(ids) <= 10 else f"{shown} and {len(ids) - 10} more"  # noqa: PLR2004 - enough for a log line


COMMANDS: dict[str, Callable[..., Any]] = {
    **INSPECTIONS,
    **ADJUSTMENTS,
    **{
        command.__name__: command
        for command in (
            revoke,
            terminate,
            revoke_by_stamped_headers,
            enable_events,
            disable_events,
            heartbeat,
            hello,
            shutdown,
        )
    },
}
