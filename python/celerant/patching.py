"""Where gevent is still patching when this package is imported: importing it ends that.

While gevent patches locks it looks at every object. One of Celery's makes an app then,
and loads what ``CELERY_LOADER`` names, which may be in here: what this package imports
would keep the sockets and selectors of before for ever.
"""

from __future__ import annotations

import sys

__all__: list[str] = []


def _is_patching() -> bool:
    """Whether Celery's command line is about to patch all, with gevent's defaults."""
    frame = sys._getframe()  # noqa: SLF001 - the documented way to look at callers
    while frame.f_back is not None:
        frame = frame.f_back
        if (
            frame.f_code.co_name == "_patch_gevent"
            and frame.f_globals.get("__name__") == "celery"
        ):
            return True
    return False


def _finish() -> None:
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and _is_patching():
        # Once more by gevent in a moment: that changes nothing.
        for part in ("socket", "dns", "select", "ssl"):
            getattr(monkey, f"patch_{part}")()


_finish()
