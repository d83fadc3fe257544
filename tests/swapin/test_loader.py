"""`CELERY_LOADER` installs the swap-in when an app first needs its loader."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import celery
import pytest

from celerant.celery import explain, install, uninstall
from celerant.celery.loader import Loader

#: The first group is sent in the way of the argument, the second as a generator.
SCRIPT = """
import json, logging, sys, uuid, celery
logging.basicConfig(format="%(message)s", stream=sys.stderr)
logging.getLogger("celerant").setLevel("DEBUG")
app = celery.Celery("t", broker="memory://", backend="cache+memory://")
@app.task
def add(x): return x
sent = {
    "generator": lambda: celery.group(add.s(i) for i in range(3)),
    "names": lambda: celery.group([app.signature("t.add", (i,)) for i in range(3)]),
    "list": lambda: celery.group([add.s(i) for i in range(3)]),
    "loaded": lambda: app.loader and celery.group(add.s(i) for i in range(3)),
}
first = sent[sys.argv[1]]().apply_async()
second = sent["generator"]().apply_async()
versions = [uuid.UUID(found.results[0].id).version for found in (first, second)]
from celerant.celery import explain
found = explain(sent["list"]())
print(json.dumps([versions, found.is_installed, str(found)]))
"""


def ran(how):
    """Return what a new process prints, and its log."""
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, how],
        env={**os.environ, "CELERY_LOADER": "celerant.celery:Loader"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(found.stdout), found.stderr


@pytest.mark.parametrize("how", ["generator", "names"])
def test_a_group_that_makes_the_loader_is_named_in_the_log(how):
    (versions, is_installed, said), log = ran(how)
    assert versions == [4, 8]
    assert is_installed
    assert "a group sent before that took Celery's own path" in said
    assert log.count("takes Celery's own path") == 1
    assert "when its app made the loader" in log


@pytest.mark.parametrize("how", ["list", "loaded"])
def test_a_group_after_the_loader_leaves_in_a_volley(how):
    (versions, is_installed, _), log = ran(how)
    assert versions == [8, 8]
    assert is_installed
    assert "Celery's own path" not in log


def late_group():
    """Return a group of an app that has not made its loader."""
    app = celery.Celery("late", broker="memory://", loader=Loader, set_as_current=False)
    return celery.group([app.signature("t.add", (1,))], app=app)


def test_an_explanation_that_makes_the_loader_says_so():
    found = explain(late_group())
    assert (found.is_installed, found.volleyed) == (True, 1)
    assert [note.path for note in found.notes] == ["CELERY_LOADER"]
    uninstall()
    found = explain(late_group(), app_id="x")
    assert [reason.path for reason in found.reasons] == ["group"]


def test_a_loader_after_install_is_not_late():
    install()
    assert explain(late_group()).notes == ()
