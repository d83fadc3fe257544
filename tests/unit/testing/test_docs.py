from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "testing.md"
BLOCK = re.compile(r"^```(python|ini)\n(.*?)^```", re.DOTALL | re.MULTILINE)

pytest_plugins = ["pytester"]


@pytest.mark.timeout(60)
def test_the_examples_of_the_page_run(pytester, plugin_arguments):
    kinds = BLOCK.findall(PAGE.read_text())
    (ini,) = (text for kind, text in kinds if kind == "ini")
    store, *tests = (text for kind, text in kinds if kind == "python")
    pytester.makeini(f"{ini}pythonpath = .\n")
    pytester.makepyfile(store=store, test_store="\n".join(tests))
    ran = pytester.runpytest_inprocess(*plugin_arguments, "-p", "no:randomly")
    ran.assert_outcomes(passed=6)
