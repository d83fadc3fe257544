"""A real `celery worker` process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.logged_process import LoggedProcess

__all__ = ["CeleryWorker"]

_TESTS = Path(__file__).resolve().parents[1]


class CeleryWorker(LoggedProcess):
    """It is ready when its consumer is on the queue."""

    def __init__(
        self,
        *,
        broker: str,
        backend: str | None,
        queue: str,
        module: str = "harness.stock_worker:app",
        pool: str = "solo",
        concurrency: int = 2,
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        python: str | Path = sys.executable,
        more: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        path = os.pathsep.join([str(_TESTS), os.environ.get("PYTHONPATH", "")])
        super().__init__(
            [
                *(str(python), "-m", "celery", "-A", module, "worker"),
                *("--pool", pool, "-c", str(concurrency), "-Q", queue, "-l", "INFO"),
                *("-n", f"{name or queue}-{os.getpid()}@localhost"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
                *more,
            ],
            is_ready=lambda line: line.rstrip().endswith(" ready."),
            folder=_TESTS,
            environment={
                **os.environ,
                "PYTHONPATH": path.rstrip(os.pathsep),
                "CELERANT_TEST_BROKER": broker,
                "CELERANT_TEST_BACKEND": backend or "disabled",
                "CELERANT_TEST_SETTINGS": json.dumps(settings or {}),
                **(environment or {}),
            },
        )
