"""For tests of code that sends tasks: a pytest plugin, and what its fixtures are.

pytest loads `celerant.testing.plugin` by itself; see ``docs/testing.md``.
"""

from __future__ import annotations

from celerant.canvas.reading import text_of
from celerant.testing.recording import Sent, SentTask

__all__ = ["Sent", "SentTask", "text_of"]
