from __future__ import annotations

import io
import re

from rich.console import Console

from celerant import group
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
    setup = (
        "from celerant import Celerant, group\n"
        "app = Celerant('plain')\n"
        "result = group(app.signature('x') for _ in range(2)).apply_async()"
    )
    told = error_without(["rich", "rich.console"], setup, "result.progress_bar()")
    assert "pip install 'celerant[ui]'" in told
