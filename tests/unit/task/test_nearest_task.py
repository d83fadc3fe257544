"""A task that is not registered is told with the name that may be meant."""

from __future__ import annotations

import logging

import pytest

from celerant import signature


@pytest.fixture
def resize(app):
    @app.task(name="shop.resize")
    def resize(x):
        return x

    return resize


def test_call_of_an_unregistered_task_names_the_nearest(app, resize):
    with pytest.raises(LookupError, match=r"did you mean 'shop\.resize'"):
        signature("shop.resise", app=app)(1)


def test_run_in_place_of_an_unregistered_task_names_the_nearest(app, resize):
    with pytest.raises(LookupError, match=r"did you mean 'shop\.resize'"):
        signature("shop.resise", (1,), app=app).apply()


def test_worker_names_the_nearest_task_when_it_refuses_a_message(app, resize, caplog):
    caplog.set_level(logging.ERROR, "celerant")
    with app.worker(1):
        result = app.send_task("shop.resise", (1,))
        with pytest.raises(Exception, match=r"shop\.resise"):
            result.get(timeout=20)
    assert "did you mean 'shop.resize'?" in caplog.text


def test_name_that_is_like_no_task_gets_no_suggestion(app, resize):
    with pytest.raises(LookupError) as caught:
        signature("x" * 100_000, app=app)(1)
    assert "did you mean" not in str(caught.value)
