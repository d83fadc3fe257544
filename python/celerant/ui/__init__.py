"""Bars of progress, drawn with rich (the extra ``ui``)."""

from __future__ import annotations

from celerant.ui.bar import Counted, ProgressBar

__all__ = ["Counted", "ProgressBar"]
