"""What a Python without a package says of it names the extra that installs it."""

from __future__ import annotations

import pickle

import pytest

from celerant.common.extras import extra
from harness.without_package import error_without

SETUP = """
from celerant import Celerant, group
app = Celerant("plain", broker={broker!r}, backend={backend!r}, set_as_current=False)
@app.task
def f(x): pass
"""
REDIS = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(
    "act",
    [
        "f.delay(1)",
        "group(f.s(i) for i in range(3)).apply_async()",
        "app.AsyncResult('x')",
        "app.worker().start()",
        "app.control.ping()",
    ],
)
def test_a_redis_url_names_the_extra_of_redis(act):
    told = error_without(["redis"], SETUP.format(broker=REDIS, backend=None), act)
    assert told == (
        "redis:// needs the package redis; install it with "
        "pip install 'celerant[redis]'\n"
    )


@pytest.mark.parametrize(
    ("broker", "backend"),
    [
        (f"sentinel://127.0.0.1:1;{REDIS}", "disabled://"),
        (["amqp://127.0.0.1:1", REDIS], "rpc://"),
        ("memory://", "rediss://127.0.0.1:1"),
    ],
)
def test_any_url_of_a_redis_names_it(broker, backend):
    setup = SETUP.format(broker=broker, backend=backend)
    assert "pip install 'celerant[redis]'" in error_without(
        ["redis"], setup, "f.delay(1)"
    )


def test_the_swap_in_names_the_extra_of_celery():
    told = error_without(["celery"], "", "import celerant.celery")
    assert told == (
        "celerant.celery needs the package celery; install it with "
        "pip install 'celerant[celery]'\n"
    )


def test_the_page_names_its_own_extra_and_not_that_of_starlette():
    told = error_without(["starlette"], "", "import celerant.web")
    assert told == (
        "celerant.web needs the package starlette; install it with "
        "pip install 'celerant[web]'\n"
    )


def test_a_missing_extra_is_an_import_error_too():
    with pytest.raises(ImportError) as caught:
        extra("not_here_at_all", of="web", needed_by="the page")
    missing = pickle.loads(pickle.dumps(caught.value))
    for error in (caught.value, missing):
        assert error.name == "not_here_at_all"
        assert str(error) == (
            "the page needs the package not_here_at_all; install it with "
            "pip install 'celerant[web]'"
        )
