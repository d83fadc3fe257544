"""Bars of progress, drawn with rich (the extra ``ui``)."""

from __future__ import annotations

from celerant.ui.bar import ProgressBar
from celerant.ui.telling import Counted

__all__ = ["Counted", "ProgressBar"]
