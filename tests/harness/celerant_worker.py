"""A real `celerant worker` process."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

__all__ = ["CelerantWorker"]

_READY_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 20


class CelerantWorker:
    """Started on entry, ready when entry returns, stopped by its own pid on exit."""

    def __init__(
        self,
        *,
        folder: Path,
        module: str,
        hostname: str,
        pool: str = "processes",
        concurrency: int = 2,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._command = [
            *(sys.executable, "-m", "celerant", "worker", "-A", module),
            *("-P", pool, "-c", str(concurrency), "-n", hostname),
        ]
        self._folder = folder
        self._environment = environment
        self.log: list[str] = []
        self._ready = threading.Event()
        self.process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def __enter__(self) -> CelerantWorker:
        self.process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(_READY_TIMEOUT_S) or self.process.poll() is not None:
            self.stop()
            msg = "celerant worker did not start:\n" + "".join(self.log[-40:])
            raise RuntimeError(msg)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        process = self.process
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
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)
            if " consumes " in line:
                self._ready.set()
        # The end of the output wakes whoever waits for a worker that died.
        self._ready.set()
