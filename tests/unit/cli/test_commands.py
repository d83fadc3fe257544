from __future__ import annotations

import subprocess
import sys

import pytest

from celerant import cli
from celerant.cli import commands
from celerant.cli.finding import load_app
from celerant.errors import CelerantError

AWAY = """
from celerant import Celerant
app = Celerant(
    "h3away",
    broker="redis://127.0.0.1:1/0",
    result_backend_transport_options={"retry_policy": {"max_retries": 0}},
)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "h3cli.py").write_text(
        "from celerant import Celerant\n"
        "app = Celerant('h3cli')\n"
        "class Shop: app = app\n"
        "text = 'no app'\n"
    )
    (tmp_path / "h3away.py").write_text(AWAY)
    (tmp_path / "h3broken.py").write_text("import h3_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("h3cli", "h3away", "h3broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("path", ["h3cli:app", "h3cli", "h3cli:Shop.app"])
def test_an_app_is_found_by_module_and_attribute(module, path):
    assert load_app(path).name == "h3cli"


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
        load_app(path)
    assert cli.main(["worker", "-A", path]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["worker"], "start its worker with `celery -A h3cli:app worker`"),
        (["doctor"], "celery -A h3cli:app inspect ping"),
        (["report", "x"], "app.GroupResult.restore(ID)"),
        (["result", "x"], "app.AsyncResult(ID)"),
        (["cancel", "x"], "revoke()"),
        (["web"], "`celerant web` is for groups that Celerant's apps have sent"),
    ],
)
def test_a_celery_app_is_told_what_serves_it(module, tmp_path, arguments, told, capsys):
    (tmp_path / "h3cli.py").write_text(
        "import celery\napp = celery.Celery('x', set_as_current=False)\n"
    )
    assert cli.main([*arguments, "-A", "h3cli:app"]) == 2
    assert told in " ".join(capsys.readouterr().err.split())


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
        ["doctor"],
        ["web"],
        ["report", "-A", "h3cli:app"],
        ["result", "-A", "h3cli:app", "cel2.xyz"],
        ["send", "h3cli:text"],
        ["unheard"],
    ],
)
def test_a_wrong_command_line_exits_with_two(module, arguments, capsys):
    assert cli.main(arguments) == 2
    assert "Usage: celerant" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["-A", "h3cli:Shop.app", "worker"], ["worker", "--app", "h3cli:Shop.app"]],
)
def test_app_is_named_before_the_command_or_after_it(module, arguments, monkeypatch):
    served = []
    monkeypatch.setattr(commands, "serve", lambda app, _worker: served.append(app) or 0)
    assert cli.main([*arguments, "-c", "1"]) == 0
    assert [app.name for app in served] == ["h3cli"]


def test_app_is_named_by_the_environment(module, monkeypatch):
    served = []
    monkeypatch.setattr(commands, "serve", lambda app, _worker: served.append(app) or 0)
    monkeypatch.setenv("CELERANT_APP", "h3cli:app")
    assert cli.main(["worker"]) == 0
    assert [app.name for app in served] == ["h3cli"]


@pytest.mark.parametrize(
    ("more", "mingles"), [([], "before"), (["--without-mingle"], None)]
)
def test_a_worker_of_the_command_line_asks_the_others_first(
    module, monkeypatch, more, mingles
):
    served = []
    monkeypatch.setattr(
        commands, "serve", lambda _app, worker: served.append(worker.mingles) or 0
    )
    assert cli.main(["worker", "-A", "h3cli:app", *more]) == 0
    assert served == [mingles]


def test_no_command_shows_the_help(capsys):
    assert cli.main([]) == 2
    assert "worker" in capsys.readouterr().err


def test_version_is_told(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("celerant ")


def test_the_command_line_names_its_extra_if_click_is_not_installed():
    code = (
        "import sys; sys.modules['click'] = None\n"
        "from celerant.cli import main; sys.exit(main(['worker', '-A', 'x:y']))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert "pip install 'celerant[cli]'" in ran.stderr
    assert "app.worker()" in ran.stderr


def test_shells_complete_commands(monkeypatch, capsys):
    monkeypatch.setenv("_CELERANT_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "celerant do")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit):
        cli.main([])
    assert "doctor" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["report", "watch", "cancel"])
def test_a_store_that_is_away_exits_with_three(module, command, capsys):
    handle = "cel2." + "A" * 60
    assert cli.main([command, handle, "-A", "h3away:app"]) == 3
    assert "127.0.0.1:1" in capsys.readouterr().err
