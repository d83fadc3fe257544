from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture
def loaded(tmp_path):
    names = []

    def load(path, name):
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        names.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in names:
        del sys.modules[name]


def test_the_example_of_the_page_runs(loaded, tmp_path):
    blocks = BLOCK.findall((ROOT / "docs" / "fastapi.md").read_text())
    script = tmp_path / "h3fastapi.py"
    script.write_text("\n".join(blocks))
    module = loaded(script, "h3fastapi")
    with TestClient(module.web) as client:
        assert client.get("/doubles/4").json() == [0, 2, 4, 6]
        assert "event: end" in client.get("/progress/3").text
        page = client.get("/bar/5").text
        (component,) = re.findall('<script type="module" src="([^"]+)"', page)
        assert "customElements.define" in client.get(component).text
        (stream,) = re.findall('<celerant-progress src="([^"]+)"', page)
        assert '"done":5' in client.get(stream).text
        assert client.get("/celerant/").status_code == 403


def test_the_progress_page_runs(loaded):
    module = loaded(ROOT / "examples" / "progress_page.py", "h3progress")
    with TestClient(module.web) as client:
        page = client.post("/groups", params={"n": 5})
        assert page.status_code == 200
        assert "A group of 5" in page.text
        events = client.get(f"{page.url.path}/events").text
        assert '"done":5' in events
        assert client.get("/groups/none/events").status_code == 404
