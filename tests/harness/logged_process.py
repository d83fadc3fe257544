"""A process that says in its output when it is ready."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["LoggedProcess"]

_READY_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 20


class LoggedProcess:
    """Started on entry, ready when entry returns, stopped by its own pid on exit."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        is_ready: Callable[[str], bool],
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare to start `command`.

        Args:
            command: The program and its arguments.
            is_ready: Whether a line of its output says that it is ready.
            folder: Its working directory.
            environment: All of its environment; None takes this process's own.
        """
        self._command = command
        self._is_ready = is_ready
        self._folder = folder
        self._environment = environment
        self.log: list[str] = []
        self._ready = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def __enter__(self) -> LoggedProcess:
        self._process = subprocess.Popen(
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
        if not self._ready.wait(_READY_TIMEOUT_S) or self._process.poll() is not None:
            self.stop()
            msg = f"{self._command} did not start:\n" + "".join(self.log[-40:])
            raise RuntimeError(msg)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        process = self.process
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
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line)
            if self._is_ready(line):
                self._ready.set()
        # The end of the output wakes a wait for a process that died.
        self._ready.set()
