"""A `redis-sentinel` process of the test's own."""

from __future__ import annotations

from pathlib import Path

from harness.certificates import Certificate
from harness.redis_server import RedisServer

__all__ = ["RedisSentinel"]


class RedisSentinel(RedisServer):
    """Watches one master under the name `master_name`; by TLS, given a certificate."""

    ready_line = b"+monitor master"

    def __init__(
        self,
        folder: Path,
        master: RedisServer,
        master_name: str,
        *,
        certificate: Certificate | None = None,
    ) -> None:
        port = master.tls_port if certificate else master.port
        options = {
            f"sentinel monitor {master_name}": f"127.0.0.1 {port} 1",
            f"sentinel down-after-milliseconds {master_name}": "1000",
        }
        if certificate is not None:
            options["tls-replication"] = "yes"
        super().__init__(
            folder, options=options, certificate=certificate, arguments=["--sentinel"]
        )
        # A Sentinel does not know servers that only keep data.
        for name in ("save", "appendonly"):
            del self._options[name]

    def url(self, *_args: str, **_options: object) -> str:
        return f"sentinel://127.0.0.1:{self.port}/0"
