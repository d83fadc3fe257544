from __future__ import annotations

import contextlib
import errno
import socket
import sys
import types

import pytest
import redis
from amqp.exceptions import AMQPError
from kombu.exceptions import OperationalError

from celerant import cli, group
from celerant.cli.exits import is_unreachable
from celerant.errors import CelerantError, PublishError, ResultTimeout


def caused(exc, cause):
    exc.__cause__ = cause
    return exc


@pytest.mark.parametrize(
    "exc",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        socket.gaierror(-2, "Name or service not known"),
        OSError(errno.EHOSTUNREACH, "No route to host"),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
        redis.ConnectionError(),
        redis.TimeoutError(),
        OperationalError(),
        PublishError(""),
        caused(CelerantError(), ConnectionResetError()),
    ],
    ids=repr,
)
def test_a_server_that_does_not_answer_is_unreachable(exc):
    assert is_unreachable(exc)


@pytest.mark.parametrize(
    "exc",
    [
        FileNotFoundError(errno.ENOENT, "No such file"),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("a task's own"),
        ResultTimeout(),
        AMQPError(),
        ValueError(),
        caused(CelerantError(), FileNotFoundError(errno.ENOENT, "No such file")),
        caused(PublishError("", recoverable=False), ConnectionResetError()),
    ],
    ids=repr,
)
def test_other_errors_say_nothing_of_servers(exc):
    assert not is_unreachable(exc)


def test_an_error_without_a_number_that_a_client_raises_is_of_its_server():
    # As py-amqp does if the server hangs up.
    code = "def read(): raise OSError('Server unexpectedly closed connection')"
    client = types.ModuleType("amqp.transport")
    exec(code, vars(client))
    with pytest.raises(OSError, match="closed") as caught:
        client.read()
    assert is_unreachable(caught.value)


def test_an_error_of_a_canvas_keeps_its_traceback(module):
    module.broken = lambda: open("/nonexistent/orders.csv")  # noqa: SIM115, PTH123 - as a user's code may
    with pytest.raises(FileNotFoundError):
        cli.main(["send", f"{module.__name__}:broken"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["send", "{}:members", "--journal", "/nonexistent/x"],
        ["send", "{}:members", "--journal", "/dev/null/x"],
        ["bench", "--broker", "memory://", "--svg", "/nonexistent/x"],
    ],
)
def test_a_file_that_cannot_be_made_is_a_wrong_command_line(module, capsys, arguments):
    module.members = lambda: group(module.add.s(i) for i in range(3))
    given = [argument.format(module.__name__) for argument in arguments]
    assert cli.main(given) == 2
    assert "folder" in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="has no /dev/full")
def test_output_that_is_not_taken_is_no_server_that_is_away(module, monkeypatch):
    with module.app.worker(concurrency=1):
        result = group([module.add.s(1, 1)]).apply_async()
        result.get(timeout=20)
    handle = result.handle
    full = open("/dev/full", "w")  # noqa: PTH123, SIM115 - it is closed below
    try:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", full)
            with pytest.raises(OSError, match="No space left"):
                cli.main(["report", handle, "--json", "-A", module.__name__])
    finally:
        # What it did not take is written once more.
        with contextlib.suppress(OSError):
            full.close()
