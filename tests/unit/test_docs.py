from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def _blocks(page: str) -> list[str]:
    return BLOCK.findall((ROOT / page).read_text())


def _run(source: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "shop.py"
    script.write_text(source)
    return subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.timeout(90)
def test_the_readmes_first_example_runs_as_written(tmp_path):
    ran = _run(_blocks("README.md")[0], tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "[0, 2, 4, 6, 8, 10, 12, 14, 16, 18]\n"


@pytest.mark.timeout(90)
def test_the_guides_examples_run_one_after_the_other(tmp_path):
    ran = _run("\n".join(_blocks("docs/guide.md")), tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.timeout(90)
def test_the_canvas_examples_run_one_after_the_other(tmp_path):
    ran = _run("\n".join(_blocks("docs/canvas.md")), tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.timeout(90)
def test_the_examples_of_watching_run_one_after_the_other(tmp_path):
    ran = _run("\n".join(_blocks("docs/watching.md")), tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_every_page_that_is_linked_exists():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([\w./-]+\.md)\)", page.read_text()):
            assert (page.parent / target).is_file(), (page.name, target)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
