from __future__ import annotations

import sys

import pytest

from celerant import cli
from celerant.errors import CelerantError


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "h3cli.py").write_text(
        "from celerant import Celerant\n"
        "app = Celerant('h3cli')\n"
        "class Shop: app = app\n"
        "text = 'no app'\n"
    )
    (tmp_path / "h3broken.py").write_text("import h3_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("h3cli", "h3broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("path", ["h3cli:app", "h3cli", "h3cli:Shop.app"])
def test_an_app_is_found_by_module_and_attribute(module, path):
    assert cli.load_app(path).name == "h3cli"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("h3_missing:app", "cannot import module 'h3_missing'"),
        ("h3broken:app", "h3_not_there"),
        ("h3cli:shop", "has no 'shop'"),
        ("h3cli:text", "no Celerant app but a builtins.str"),
        ("", "cannot import"),
        (":app", "cannot import"),
    ],
)
def test_a_wrong_app_is_told_and_exits_with_two(module, path, told, capsys):
    with pytest.raises(CelerantError, match=told):
        cli.load_app(path)
    with pytest.raises(SystemExit) as caught:
        cli.main(["worker", "-A", path])
    assert caught.value.code == 2
    assert told in capsys.readouterr().err


def test_a_celery_app_is_sent_to_celery(module, tmp_path):
    (tmp_path / "h3cli.py").write_text(
        "import celery\napp = celery.Celery('x', set_as_current=False)\n"
    )
    with pytest.raises(CelerantError, match="start it with celery -A"):
        cli.load_app("h3cli:app")


@pytest.mark.parametrize(
    "arguments",
    [
        ["worker"],
        ["-A", "h3cli:app", "worker", "-c", "0"],
        ["worker", "-A", "h3cli:app", "-c", "0"],
        ["worker", "-A", "h3cli:app", "-c", "x"],
        ["worker", "-A", "h3cli:app", "-P", "green"],
        ["worker", "-A", "h3cli:app", "-Q", ","],
        ["worker", "-A", "h3cli:app", "-l", "LOUD"],
        ["unheard"],
    ],
)
def test_a_wrong_command_line_exits_with_two(module, arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["-A", "h3cli:Shop.app", "worker"], ["worker", "--app", "h3cli:Shop.app"]],
)
def test_app_is_named_before_the_command_or_after_it(module, arguments, monkeypatch):
    served = []
    monkeypatch.setattr(cli, "_serve", lambda app, _worker: served.append(app) or 0)
    assert cli.main([*arguments, "-c", "1"]) == 0
    assert [app.name for app in served] == ["h3cli"]


def test_no_command_shows_the_help(capsys):
    assert cli.main([]) == 2
    assert "worker" in capsys.readouterr().err


def test_version_is_told(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("celerant ")
