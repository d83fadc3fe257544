"""The cells of docs/notebooks.md run as written, one after the other."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import sys
import types
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "notebooks.md"
CELL = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
#: What a cell that ends in a name shows.
SHOWN = {
    "app": "Celerant notebook",
    "canvas": "invert(-100)",
    "result": "200 members",
    "report": "200 confirmed",
    "failures": "ZeroDivisionError: division by zero",
}


@pytest.fixture
def notebook(monkeypatch):
    """The module that the cells run in."""
    module = types.ModuleType("h3notebook")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield module
    module.app.close()


def run(cell, names):
    """Run a cell, and return the name and the value of its last expression."""
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    if last is None:
        return "", None
    value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
    return ast.unparse(last), value


@pytest.mark.timeout(60)
def test_the_cells_run_and_show_what_the_page_says(notebook):
    shown, printed, told = {}, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told):
        for cell in CELL.findall(PAGE.read_text()):
            name, value = run(cell, vars(notebook))
            if name in SHOWN:
                shown[name] = value._repr_html_()
    assert shown.keys() == SHOWN.keys()
    for name, text in SHOWN.items():
        assert text in shown[name]
        assert len(shown[name]) < 4_000
        assert "<script" not in shown[name]
    assert "1 ZeroDivisionError" in printed.getvalue()
    assert "in invert" in printed.getvalue()
    assert len(notebook.values) == 199
    # Without a notebook, each of the two bars is a line.
    assert told.getvalue().count("200 of 200 done, 1 failed") == 2
