"""A stock worker, and a client, whose messages are signed."""

from __future__ import annotations

from harness.stock_worker import app

__all__ = ["app"]

app.setup_security()
