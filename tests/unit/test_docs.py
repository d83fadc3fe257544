from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import celerant
from celerant import errors

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
def test_the_home_page_has_the_readmes_example():
    assert _blocks("docs/index.md") == _blocks("README.md")[:1]


@pytest.mark.timeout(90)
def test_the_tutorial_runs_and_prints_what_it_says(tmp_path):
    ran = _run("\n".join(_blocks("docs/tutorial.md")), tmp_path)
    assert ran.returncode == 0, ran.stderr
    printed = (ROOT / "docs/tutorial.md").read_text()
    first, *others = ran.stdout.splitlines()
    assert f"$ python tutorial.py\n{first}\n" in printed
    assert "'SUCCESS': 1980, 'FAILURE': 20" in others[0]
    assert others[1] == "20 failed; the first is member 0"
    assert others[2] == "ZeroDivisionError('division by zero')"
    assert others[-1].startswith("208.3")
    # Without a terminal the bar is one line.
    assert re.fullmatch(r"group \S+: 2000 of 2000 done, \S+ s\n", ran.stderr)


def test_every_page_is_in_the_sites_menu():
    settings = (ROOT / "mkdocs.yml").read_text()
    menu = set(re.findall(r"- ([\w-]+\.md)$", settings, re.MULTILINE))
    assert menu == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_the_reference_names_what_exists():
    page = (ROOT / "docs/reference.md").read_text()
    names = re.findall(r"^::: ([\w.]+)$", page, re.MULTILINE)
    assert names
    for name in names:
        if name.startswith("celerant.django"):
            continue  # needs a project
        assert pkgutil.resolve_name(name) is not None
    # Errors have a section of their own.
    shown = {name.rpartition(".")[2] for name in names} | set(errors.__all__)
    missing = set(celerant.__all__) - shown
    assert missing <= {
        "current_app",
        "current_task",
        "chunks",
        "maybe_signature",
        "signature",
        "subtask",
        "xmap",
        "xstarmap",
    }, missing


@pytest.mark.timeout(90)
def test_the_examples_of_watching_run_one_after_the_other(tmp_path):
    ran = _run("\n".join(_blocks("docs/watching.md")), tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.timeout(90)
def test_the_examples_of_the_page_run_one_after_the_other(tmp_path):
    ran = _run("\n".join(_blocks("docs/web.md")), tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_every_page_that_is_linked_exists():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([\w./-]+\.md)\)", page.read_text()):
            assert (page.parent / target).is_file(), (page.name, target)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
