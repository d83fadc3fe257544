"""The stamp that says of which group a message is, so that one word cancels all."""

from __future__ import annotations

__all__ = ["GROUP_STAMP", "cancel_mark"]

#: The stamped header; its value is the group's id.
GROUP_STAMP = "celerant_group"


def cancel_mark(group_id: str) -> str:
    """Return the name of what is put aside for workers that start later."""
    return f"cancelled-{group_id}"
