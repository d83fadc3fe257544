"""A `redis-server` process of the test's own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import redis

from harness.certificates import Certificate
from harness.freezing import freeze

__all__ = ["RedisServer", "free_port"]

_STOP_TIMEOUT_S = 10


def free_port() -> int:
    """Return a free port of the loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """Started on entry with nothing on disk, stopped by its own pid on exit."""

    #: The line of its log when it is ready.
    ready_line = b"Ready to accept connections"

    def __init__(
        self,
        folder: Path,
        *,
        acl: Sequence[str] = (),
        options: Mapping[str, str] | None = None,
        port: int | None = None,
        certificate: Certificate | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        """Prepare a server.

        Args:
            folder: Its working directory.
            acl: Lines of its ACL file; `user default` stays as it is.
            options: More `redis.conf` options by name.
            port: A port of the loopback; None takes a free one.
            certificate: Makes it listen with TLS on `tls_port` too.
            arguments: More of its command line.
        """
        self.port = port or free_port()
        self.tls_port = 0
        self._arguments = arguments
        self._folder = folder
        self._options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "save": '""',
            "appendonly": "no",
            "dir": str(folder),
            **(options or {}),
        }
        if certificate is not None:
            self.tls_port = free_port()
            self._options |= {
                "tls-port": str(self.tls_port),
                "tls-cert-file": str(certificate.certificate),
                "tls-key-file": str(certificate.key),
                "tls-ca-cert-file": str(certificate.certificate),
                "tls-auth-clients": "no",
            }
        if acl:
            acl_file = folder / "users.acl"
            acl_file.write_text("\n".join(["user default on nopass ~* &* +@all", *acl]))
            self._options["aclfile"] = str(acl_file)
        self._process: subprocess.Popen[bytes] | None = None

    def url(
        self, user: str = "", password: str = "", *, port: int | None = None
    ) -> str:
        """Return the URL for a user, at another port (a proxy's) if given."""
        credentials = f"{user}:{password}@" if user else ""
        return f"redis://{credentials}127.0.0.1:{port or self.port}/0"

    def client(self) -> redis.Redis:
        """Return a client with all rights."""
        return redis.Redis(port=self.port)

    def __enter__(self) -> RedisServer:
        binary = shutil.which("redis-server")
        if binary is None:
            msg = "redis-server is not on PATH"
            raise FileNotFoundError(msg)
        config = self._folder / "redis.conf"
        lines = [f"{name} {value}" for name, value in self._options.items()]
        config.write_text("\n".join(lines) + "\n")
        self._process = subprocess.Popen(
            [binary, str(config), *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdout is not None
        seen = []
        for line in self._process.stdout:
            seen.append(line)
            if self.ready_line in line:
                return self
        self.stop()
        msg = "redis-server did not start:\n" + b"".join(seen).decode()
        raise RuntimeError(msg)

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def freeze(self) -> None:
        """Have it answer nothing, its connections open, until `thaw`."""
        assert self._process is not None
        freeze(self._process.pid)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, as a power cut does; entered again it is restarted."""
        assert self._process is not None, "not started"
        self._process.kill()
        self.stop()

    def stop(self) -> None:
        process = self._process
        if process is None:
            return
        self.thaw()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None
