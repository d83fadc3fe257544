"""Finish gevent's patching if this package is imported in the middle of it.

While gevent patches locks, it reads every object. One of Celery's objects then makes an
app, which loads the module of ``CELERY_LOADER``, and that may be in this package. The
modules that this package imports would keep the unpatched sockets and selectors for
ever.
"""

from __future__ import annotations

import sys

__all__: list[str] = []


def _is_patching() -> bool:
    """Whether Celery's command line is patching with gevent's defaults."""
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
        # gevent patches these again in a moment, which changes nothing.
        for part in ("socket", "dns", "select", "ssl"):
            getattr(monkey, f"patch_{part}")()


_finish()
