"""A real `celerant worker` process."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.logged_process import LoggedProcess

__all__ = ["CelerantWorker"]


class CelerantWorker(LoggedProcess):
    """It is ready when its log names its queues."""

    def __init__(
        self,
        *,
        folder: Path,
        module: str,
        hostname: str,
        pool: str = "processes",
        concurrency: int = 2,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            [
                *(sys.executable, "-m", "celerant", "worker", "-A", module),
                *("-P", pool, "-c", str(concurrency), "-n", hostname),
                *options,
            ],
            is_ready=lambda line: " consumes " in line,
            folder=folder,
            environment=environment,
        )
