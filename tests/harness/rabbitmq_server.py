"""A RabbitMQ node of the test's own, with TLS."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from harness import services
from harness.certificates import Certificate, self_signed
from harness.freezing import freeze
from harness.redis_server import free_port

__all__ = ["RabbitmqServer", "own_rabbitmq", "rabbitmq_binary"]

_START_TIMEOUT_S = 45
_STOP_TIMEOUT_S = 10
#: Debian's script on PATH changes the user and logs to /var: not for a node of ours.
_SCRIPT = "/usr/lib/rabbitmq/bin/rabbitmq-server"


def rabbitmq_binary() -> str | None:
    """Return the program that starts a node as this user, None if absent."""
    if shutil.which("epmd") is None:
        return None
    if Path(_SCRIPT).exists():
        return _SCRIPT
    return shutil.which("rabbitmq-server")


def own_rabbitmq(
    folder: Path, *, plugins: Sequence[str] = (), config: Sequence[str] = ()
) -> RabbitmqServer:
    """Return a node that is not started yet; skip the test if it cannot be."""
    if rabbitmq_binary() is None or shutil.which("openssl") is None:
        services.absent("rabbitmq-server, epmd or openssl on PATH")
    return RabbitmqServer(folder, self_signed(folder), plugins=plugins, config=config)


class RabbitmqServer:
    """Started on entry with all it writes in `folder`, ended by its own pids on exit.

    It shares nothing with the machine's RabbitMQ: name, ports, cookie and port mapper
    (`epmd`) are its own. The user is guest.
    """

    def __init__(
        self,
        folder: Path,
        certificate: Certificate,
        *,
        plugins: Sequence[str] = (),
        config: Sequence[str] = (),
    ) -> None:
        """Prepare a node.

        Args:
            folder: Its working directory.
            certificate: Of its TLS listener.
            plugins: Enabled ones, by name.
            config: More lines of `rabbitmq.conf`.
        """
        self._plugins, self._config = plugins, config
        self.port, self.tls_port = free_port(), free_port()
        self._folder = folder
        self._certificate = certificate
        self._epmd_port = free_port()
        self._environment: dict[str, str] = {}
        self._epmd: subprocess.Popen[bytes] | None = None
        self._script: subprocess.Popen[bytes] | None = None
        self._ready = threading.Event()
        self._reader: threading.Thread | None = None
        self._log: list[bytes] = []

    def url(self, *, tls: bool = False, password: str = "guest") -> str:
        scheme, port = ("amqps", self.tls_port) if tls else ("amqp", self.port)
        return f"{scheme}://guest:{password}@localhost:{port}//"

    def __enter__(self) -> RabbitmqServer:
        binary = rabbitmq_binary()
        if binary is None:
            msg = "rabbitmq-server or epmd is absent"
            raise FileNotFoundError(msg)
        environment = self._environment = self._prepare()
        # Started by the node it would stay behind as a daemon.
        self._epmd = subprocess.Popen(
            ["epmd", "-address", "127.0.0.1", "-port", str(self._epmd_port)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._script = subprocess.Popen(
            [binary],
            env=environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(_START_TIMEOUT_S) or self._script.poll() is not None:
            self.stop()
            msg = "rabbitmq did not start:\n" + b"".join(self._log[-40:]).decode()
            raise RuntimeError(msg)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def control(self, *words: str) -> None:
        """Run `rabbitmqctl` on the node.

        Raises:
            subprocess.CalledProcessError: It refuses.
        """
        script = Path(_SCRIPT).with_name("rabbitmqctl")
        binary = script if script.exists() else "rabbitmqctl"
        subprocess.run(
            [binary, *words],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )

    def freeze(self) -> None:
        """Have it answer nothing, its connections open, until `thaw`."""
        freeze(self._pid())

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self._pid(), signal.SIGCONT)

    def _pid(self) -> int:
        return int((self._folder / "pid").read_text())

    def stop(self) -> None:
        """Kill the node: its data are in a temporary folder."""
        pid_file = self._folder / "pid"
        if pid_file.exists() and self._script is not None:
            if self._script.poll() is None:
                os.kill(self._pid(), signal.SIGKILL)
            pid_file.unlink()
        for process in (self._script, self._epmd):
            if process is None:
                continue
            try:
                # The script ends with its node; epmd has to be told.
                if process is self._epmd:
                    process.terminate()
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._reader is not None:
            self._reader.join(_STOP_TIMEOUT_S)
        if self._script is not None and self._script.stdout is not None:
            self._script.stdout.close()
        self._script = self._epmd = None

    def _prepare(self) -> dict[str, str]:
        folder, certificate = self._folder, self._certificate
        config = folder / "rabbitmq.conf"
        config.write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            f"ssl_options.cacertfile = {certificate.certificate}\n"
            f"ssl_options.certfile = {certificate.certificate}\n"
            f"ssl_options.keyfile = {certificate.key}\n"
            "ssl_options.verify = verify_none\n"
            "ssl_options.fail_if_no_peer_cert = false\n"
            + "".join(f"{line}\n" for line in self._config)
        )
        plugins = folder / "enabled_plugins"
        plugins.write_text(f"[{','.join(self._plugins)}].\n")
        return {
            **os.environ,
            # Erlang looks there for the cookie.
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"celerant-test-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1}"
            ),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }

    def _read(self) -> None:
        assert self._script is not None
        assert self._script.stdout is not None
        for line in self._script.stdout:
            self._log.append(line)
            if b"Server startup complete" in line:
                self._ready.set()
        # The end of the output wakes a wait for a node that died.
        self._ready.set()
