from __future__ import annotations

import io
import re
import sys
import threading
from unittest.mock import Mock

import pytest
from rich.console import Console

from celerant import group
from harness.until import until
from harness.without_package import error_without


def text_console():
    return Console(file=io.StringIO(), force_terminal=False, width=200)


def test_a_bar_is_one_line_without_a_terminal(result):
    console = text_console()
    with result.progress_bar(console=console):
        pass
    told = console.file.getvalue()
    assert re.fullmatch(
        rf"group {result.id}: 4 of 4 done, 1 failed, \d+\.\d s\n", told
    ), told


def test_a_bar_shows_nothing_when_told_so(result, capsys):
    console = text_console()
    with result.progress_bar(disable=True, console=console):
        pass
    assert console.file.getvalue() == ""
    assert capsys.readouterr().err == ""


def test_a_bar_in_a_terminal_ends_with_the_last_state(result):
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with result.progress_bar(console=console):
        pass
    told = console.file.getvalue()
    assert "4/4" in told
    assert "1 failed" in told


class Notebook:
    """IPython's displays, as a kernel has them."""

    def __init__(self):
        self.shown = []
        self.HTML = str

    def display(self, html, *, display_id):
        assert display_id is True
        # In the thread of the cell, so that it is the cell's output.
        assert threading.current_thread() is threading.main_thread()
        self.shown.append([html])
        return Mock(update=self.shown[-1].append)


@pytest.fixture
def notebook(monkeypatch):
    notebook = Notebook()
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)
    return notebook


def test_a_bar_in_a_notebook_is_one_output_that_is_updated(app, notebook):
    console = Mock(is_terminal=False, is_jupyter=True)
    with app.worker(concurrency=1):
        result, gate = running(app)
        result.progress_bar(console=console).start()
        ((first,),) = notebook.shown
        gate.set()
        until(lambda: "3 of 3 done" in notebook.shown[0][-1])
    assert "0 of 3 done" in first
    assert "3 SUCCESS" in notebook.shown[0][-1]
    assert len(notebook.shown) == 1
    assert not console.print.called


def test_a_bar_waits_for_the_values(app):
    @app.task(name="double")
    def double(x):
        return 2 * x

    console = text_console()
    with app.worker(concurrency=1):
        result = group(double.s(i) for i in range(3)).apply_async()
        assert result.progress_bar(console=console).get(timeout=10) == [0, 2, 4]
    assert "3 of 3 done" in console.file.getvalue()


def running(app, n=3):
    """Return a group that runs once the gate is open, and the gate."""
    gate = threading.Event()

    @app.task(name="double")
    def double(x):
        gate.wait(20)
        return 2 * x

    return group(double.s(i) for i in range(n)).apply_async(), gate


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_that_is_started_lives_until_the_group_is_done(app, is_terminal):
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=120)
    last = "3/3" if is_terminal else "3 of 3 done"
    with app.worker(concurrency=1):
        result, gate = running(app)
        bar = result.progress_bar(console=console).start()
        # Other cells run meanwhile.
        assert last not in console.file.getvalue()
        gate.set()
        until(lambda: last in console.file.getvalue())
    bar.stop()
    assert console.file.getvalue().count("3 of 3 done") == (0 if is_terminal else 1)
    assert not [one for one in threading.enumerate() if one.name == "celerant-bar"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_that_is_stopped_shows_the_last_state(app, is_terminal):
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=120)
    with app.worker(concurrency=1):
        result, gate = running(app)
        result.progress_bar(console=console).start().stop()
        told = console.file.getvalue()
        gate.set()
        result.get(timeout=20)
    assert ("0/3" if is_terminal else "0 of 3 done") in told
    assert console.file.getvalue() == told


def test_a_bar_names_its_extra_if_rich_is_not_installed():
    setup = (
        "from celerant import Celerant, group\n"
        "app = Celerant('plain')\n"
        "result = group(app.signature('x') for _ in range(2)).apply_async()"
    )
    told = error_without(["rich", "rich.console"], setup, "result.progress_bar()")
    assert "pip install 'celerant[ui]'" in told
