"""The app: settings, tasks and connections; joins the way out with the way back."""

from __future__ import annotations

from celerant.app.app import Celerant

__all__ = ["Celerant"]
