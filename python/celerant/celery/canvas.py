"""`group` for explicit use: Celerant's way out without `install`."""

from __future__ import annotations

from typing import Any

from celery import canvas as celery_canvas

from celerant.celery.eligibility import GROUPS
from celerant.celery.sending import apply_group

__all__ = ["group"]

_group: Any = celery_canvas.group


class group(_group):  # type: ignore[misc] # noqa: N801 - Celery's name
    """Celery's `group`, sent as one volley.

    It mixes with Celery's canvas and is a `celery.group` in every other way. A chain or
    chord sends it in Celery's own way; to change that, call `install`.
    """

    def apply_async(self, *args: Any, **kwargs: Any) -> Any:
        """Send the group; see `celery.group.apply_async`."""
        return apply_group(super().apply_async, self, *args, **kwargs)


GROUPS.add(group)
