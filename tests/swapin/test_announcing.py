"""One line in the log says that the swap-in is in effect, and which one."""

from __future__ import annotations

import functools
import logging
import os
import subprocess
import sys
from functools import partial

import celery
import pytest
from celery import signals

from celerant._core import build_info
from celerant.celery import install, uninstall

LINE = (
    f"the swap-in of celerant {build_info()['version']} is installed in celery "
    f"{celery.__version__}: groups, chords and chunks leave in volleys"
)


@pytest.fixture
def logged(lines_at):
    """Return the lines so far at level INFO."""
    return partial(lines_at, logging.INFO)


def start_of_a_worker():
    signals.celeryd_after_setup.send(sender="w", instance=None, conf=None)


def test_installing_is_logged_once(caplog, logged):
    caplog.set_level(logging.INFO, logger="celerant")
    install()
    install(uuid4=True)
    start_of_a_worker()
    assert logged() == [LINE]
    uninstall()
    install()
    assert logged() == [LINE, LINE]


def test_a_worker_says_it_when_its_log_is_set_up(caplog, logged):
    caplog.set_level(logging.WARNING, logger="celerant")
    install()
    assert logged() == []
    caplog.set_level(logging.INFO, logger="celerant")
    start_of_a_worker()
    start_of_a_worker()
    assert logged() == [LINE]


def test_an_uninstalled_swap_in_is_not_announced(caplog, logged):
    install()
    uninstall()
    caplog.set_level(logging.INFO, logger="celerant")
    start_of_a_worker()
    assert logged() == []


def test_the_line_says_if_no_group_comes(caplog, logged, monkeypatch):
    original = celery.group.apply_async

    @functools.wraps(original)
    def wrapper(self, *args, **kwargs):
        return original(self, *args, **kwargs)

    monkeypatch.setattr(celery.group, "apply_async", wrapper)
    caplog.set_level(logging.INFO, logger="celerant")
    install()
    (line,) = logged()
    assert "but no group comes to it, somebody had wrapped group.apply_async" in line


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        (["-I", "celerant.celery.auto"], {}),
        ([], {"CELERY_LOADER": "celerant.celery:Loader"}),
    ],
    ids=["auto", "loader"],
)
def test_a_real_worker_logs_it_once(tmp_path, options, environment):
    (tmp_path / "t.py").write_text(
        "import celery\n"
        "from celery.signals import worker_ready\n"
        "app = celery.Celery('t', broker='memory://')\n"
        "@worker_ready.connect\n"
        "def stop(**_):\n"
        "    raise SystemExit\n"
    )
    worker = ["worker", "-l", "info", "-c", "2", "--without-mingle", *options]
    ran = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "t", *worker],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stdout + ran.stderr).count(LINE) == 1, ran.stderr
