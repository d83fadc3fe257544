from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest
from rich.console import Console

from celerant import group


def text_console():
    return Console(file=io.StringIO(), force_terminal=False, width=200)


@pytest.fixture
def result(app):
    @app.task(name="halve")
    def halve(x):
        return 1 / x

    with app.worker(concurrency=1):
        result = group(halve.s(i) for i in range(4)).apply_async()
        result.get(timeout=10, propagate=False)
    return result


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


def test_a_bar_waits_for_the_values(app):
    @app.task(name="double")
    def double(x):
        return 2 * x

    console = text_console()
    with app.worker(concurrency=1):
        result = group(double.s(i) for i in range(3)).apply_async()
        assert result.progress_bar(console=console).get(timeout=10) == [0, 2, 4]
    assert "3 of 3 done" in console.file.getvalue()


def test_a_bar_names_its_extra_if_rich_is_not_installed():
    code = (
        "import sys; sys.modules['rich'] = sys.modules['rich.console'] = None\n"
        "from celerant import Celerant, CelerantError, group\n"
        "app = Celerant('plain')\n"
        "result = group(app.signature('x') for _ in range(2)).apply_async()\n"
        "try: result.progress_bar()\n"
        "except CelerantError as exc: print(exc)\n"
    )
    told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "pip install 'celerant[ui]'" in told
