"""A self-signed certificate for the loopback, made by `openssl` for one test run."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Certificate", "self_signed"]


@dataclass(frozen=True)
class Certificate:
    """Its own authority: clients that trust `certificate` accept the server."""

    certificate: Path
    key: Path


#: The options of `openssl req` for a key.
_ELLIPTIC = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
_RSA = ("rsa:2048",)


def self_signed(
    folder: Path, *, is_rsa: bool = False, names: str = "DNS:localhost,IP:127.0.0.1"
) -> Certificate:
    """Make a certificate, by default for the loopback, valid for one day.

    Args:
        folder: For its files.
        is_rsa: Celery signs messages with no other key.
        names: Whose it is, as openssl wants it.
    """
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-days", "1", "-subj", "/CN=localhost"),
            *("-newkey", *(_RSA if is_rsa else _ELLIPTIC), "-nodes"),
            *("-addext", f"subjectAltName={names}"),
            *("-addext", "keyUsage=critical,digitalSignature,keyCertSign"),
            *("-keyout", str(made.key), "-out", str(made.certificate)),
        ],
        check=True,
        capture_output=True,
    )
    # RabbitMQ's Erlang and Redis run as this user: no need for a group's rights.
    made.key.chmod(0o600)
    return made
