"""Tools to test code that sends tasks: a pytest plugin and the types of its fixtures.

pytest loads `celerant.testing.plugin` by itself in every project where Celerant is
installed, so the names here are loaded only when they are used. See
``docs/testing.md``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celerant.canvas.reading import text_of
    from celerant.testing.recording import Sent, SentTask

__all__ = ["Sent", "SentTask", "text_of"]

_PLACES = {
    "Sent": "celerant.testing.recording",
    "SentTask": "celerant.testing.recording",
    "text_of": "celerant.canvas.reading",
}

if not TYPE_CHECKING:  # a type checker knows the names from above

    def __getattr__(name: str) -> Any:
        if name not in _PLACES:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        found = getattr(import_module(_PLACES[name]), name)
        globals()[name] = found
        return found
