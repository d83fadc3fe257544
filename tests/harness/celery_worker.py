"""A real `celery worker` process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

__all__ = ["CeleryWorker"]

_TESTS = Path(__file__).resolve().parents[1]
_READY_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 20


class CeleryWorker:
    """Started on entry, ready when entry returns, stopped by its own pid on exit."""

    def __init__(
        self,
        *,
        broker: str,
        backend: str | None,
        queue: str,
        module: str = "harness.stock_worker:app",
        pool: str = "solo",
        concurrency: int = 2,
        settings: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._command = [
            *(sys.executable, "-m", "celery", "-A", module, "worker"),
            *("--pool", pool, "-c", str(concurrency), "-Q", queue, "-l", "INFO"),
            *("-n", f"{queue}-{os.getpid()}@localhost"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ]
        path = os.pathsep.join([str(_TESTS), os.environ.get("PYTHONPATH", "")])
        self._environment = {
            **os.environ,
            "PYTHONPATH": path.rstrip(os.pathsep),
            "CELERANT_TEST_BROKER": broker,
            "CELERANT_TEST_BACKEND": backend or "disabled",
            "CELERANT_TEST_SETTINGS": json.dumps(settings or {}),
            **(environment or {}),
        }
        self.log: list[str] = []
        self._ready = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> CeleryWorker:
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=_TESTS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(_READY_TIMEOUT_S) or self._process.poll() is not None:
            self.stop()
            msg = "celery worker did not start:\n" + "".join(self.log[-40:])
            raise RuntimeError(msg)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        process = self._process
        assert process is not None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._reader is not None:
            self._reader.join(_STOP_TIMEOUT_S)
        if process.stdout is not None:
            process.stdout.close()

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append(line)
            # Celery logs this when its consumer is on the queue.
            if line.rstrip().endswith(" ready."):
                self._ready.set()
        # The end of the output wakes whoever waits for a worker that died.
        self._ready.set()
