from __future__ import annotations

import socket

import pytest

from celerant import cli

uvicorn = pytest.importorskip("uvicorn")


@pytest.fixture
def served(monkeypatch):
    """The page is not served; return the ports where it would be."""
    ports = []
    monkeypatch.setattr(
        uvicorn, "run", lambda _site, **given: ports.append(given["port"])
    )
    return ports


def test_a_port_in_use_is_a_wrong_command_line(module, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code = cli.main(["web", "-A", module.__name__, "--port", port])
    assert code == 2
    assert f"cannot serve on 127.0.0.1, port {port}" in capsys.readouterr().err


def test_a_page_that_can_show_no_group_warns(module, capsys, served, monkeypatch):
    cli.main(["web", "-A", module.__name__])
    assert "Warning" not in capsys.readouterr().err
    monkeypatch.setattr(type(module.app.backend), "supports_handles", False)
    cli.main(["web", "-A", module.__name__])
    told = capsys.readouterr().err
    assert "Warning: the page can show no group: results on memory://" in told
    assert len(served) == 2
