"""Check an app, its broker, its store and its workers, if no results come back.

``celerant doctor`` prints what `examine` finds.
"""

from __future__ import annotations

from celerant.doctor.examining import examine
from celerant.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
