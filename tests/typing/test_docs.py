"""The Python in README and docs passes mypy --strict and pyright."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.type_checks import mypy_errors

pytest.importorskip("mypy")

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILE = re.compile(r"^`([\w/]+\.py)`")
#: Other modules of the pages' projects.
ELSEWHERE = {
    "shop/__init__.py": "",
    "shop/models.py": """
from __future__ import annotations

from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Manager(Generic[T]):
    def get(self, pk: int) -> T: ...  # type: ignore[empty-body]
    def create(self, *args: Any, **fields: Any) -> T: ...  # type: ignore[empty-body]
    def filter(self, **fields: Any) -> list[T]: ...  # type: ignore[empty-body]


class Order:
    objects = Manager["Order"]()
    pk: int = 0

    def pack(self) -> str:
        return ""


class Batch:
    objects = Manager["Batch"]()
""",
    "proj/__init__.py": "",
    "proj/tasks.py": "from typing import Any\n\nadd: Any = None\n",
}

#: Stubs, as Django's users have them: pyright would look into Django, and guess.
STUBS = {
    "typings/django/__init__.pyi": "",
    "typings/django/db/__init__.pyi": "from . import transaction as transaction\n",
    "typings/django/tasks.pyi": """
from collections.abc import Callable
from typing import Any, Generic, ParamSpec

P = ParamSpec("P")

class Task(Generic[P]):
    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...

def task(function: Callable[P, Any]) -> Task[P]: ...
""",
    "typings/django/urls.pyi": """
from typing import Any

def include(module: str) -> Any: ...
def path(route: str, view: Any, kwargs: dict[str, Any] = ...) -> Any: ...
""",
    "typings/django/http.pyi": """
class HttpRequest: ...
class HttpResponse: ...
""",
    "typings/django/shortcuts.pyi": """
from .http import HttpRequest, HttpResponse

def render(
    request: HttpRequest, template: str, context: dict[str, object]
) -> HttpResponse: ...
""",
    "typings/django/db/transaction.pyi": """
from contextlib import AbstractContextManager

def atomic() -> AbstractContextManager[None]: ...
""",
}


def _written(folder: Path) -> list[Path]:
    """Write each page's blocks as one module, but for those that name their file."""
    sources: dict[str, list[str]] = {}
    for page in PAGES:
        found = re.findall(
            r"^([^\n]*)\n+```python\n(.*?)^```",
            page.read_text(),
            re.MULTILINE | re.DOTALL,
        )
        for before, block in found:
            named = FILE.match(before)
            name = named[1] if named else f"{page.stem.lower()}_page.py"
            sources.setdefault(name, []).append(block)
    assert len(sources) >= 5
    for name, source in ELSEWHERE.items():
        sources[name] = [source]
    whole = {name: "\n".join(blocks) for name, blocks in sources.items()}
    for name, text in {**whole, **STUBS}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [folder / name for name in sources]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return folder, _written(folder)


@pytest.mark.timeout(300)
def test_the_python_of_all_pages_passes_mypy_strict(pages):
    folder, files = pages
    configuration = (
        f"[mypy]\nstrict = True\nmypy_path = {folder / 'typings'}\n"
        # They ship no types.
        "[mypy-celery.*,django.*]\nignore_missing_imports = True\n"
    )
    assert mypy_errors(folder, configuration, *files) == ""


@pytest.mark.timeout(300)
def test_the_python_of_all_pages_passes_pyright(pages):
    folder, files = pages
    assert _errors(folder, files, "standard") == []


@pytest.mark.timeout(300)
def test_a_users_program_passes_pyright_in_strict_mode(tmp_path):
    program = tmp_path / "user_program.py"
    program.write_text(Path(__file__).with_name("user_program.py").read_text())
    assert _errors(tmp_path, [program], "strict") == []


def _errors(folder, files, mode):
    pytest.importorskip("pyright")
    configuration = {
        "include": [str(path.relative_to(folder)) for path in files],
        "pythonVersion": "3.10",
        "extraPaths": [str(ROOT / "python")],
        "typeCheckingMode": mode,
        # Celery and Django ship no types.
        "reportMissingTypeStubs": False,
        "reportMissingModuleSource": False,
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(configuration))
    command = [sys.executable, "-m", "pyright", "--outputjson"]
    done = subprocess.run(
        [*command, "--project", str(folder), "--pythonpath", sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] == len(files)
    return [
        f"{Path(d['file']).name}:{d['range']['start']['line'] + 1}: {d['message']}"
        for d in told["generalDiagnostics"]
        if d["severity"] == "error"
    ]
