"""The pytest plugin, in the tests of a project of its own."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

from celerant import Celerant, chain, chord, group, testing, worker

pytest_plugins = ["pytester"]

SHOP = """
from celerant import Celerant, chain, chord, group

# Nothing listens there: a test that left memory would fail.
app = Celerant("shop", broker="redis://127.0.0.1:1/0", task_publish_retry=False)

@app.task
def add(x, y):
    return x + y

@app.task(queue="far")
def total(xs):
    return sum(xs)
"""
INI = """
[pytest]
celerant_app = shop:app
pythonpath = .
filterwarnings = error
"""


@pytest.fixture(scope="module", autouse=True)
def _kept():
    """Import what the projects' tests use.

    pytester forgets the modules that a run in this process was the first to import;
    the next run would have classes of its own beside those that the plugin knows.
    """
    for package in (testing, worker):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            import_module(found.name)
    with Celerant("kept", set_as_current=False) as app:
        add = app.task(name="kept.add")(lambda x: x)
        with app.worker(concurrency=1):
            header = group(add.s(1), chain(add.s(1), add.s()))
            chord(header, add.s()).apply_async().get(timeout=20)
        add.s(1).apply()


@pytest.fixture
def project(pytester, plugin_arguments):
    """A project with an app; call the result with the source of its tests."""
    pytester.makepyfile(shop=SHOP)
    pytester.makeini(INI)

    def run(source, *arguments):
        pytester.makepyfile(test_shop=f"import pytest\nfrom shop import *\n{source}")
        arguments = (
            *plugin_arguments,
            "-p",
            "no:randomly",
            "-p",
            "no:cacheprovider",
            *arguments,
        )
        # xdist has processes of its own.
        is_alone = "-n2" not in arguments
        run = (
            pytester.runpytest_inprocess if is_alone else pytester.runpytest_subprocess
        )
        return run(*arguments)

    return run


@pytest.mark.timeout(60)
def test_sent_canvases_are_asserted_in_memory(project):
    ran = project(
        """
def test_calls(celerant_app, assert_sent):
    add.delay(1, 2)
    total.delay([1])
    (sent,) = assert_sent(add.s(1, 2))
    assert (sent.task, sent.args, sent.queue) == ("shop.add", [1, 2], "shop")
    assert_sent(add, times=1)
    assert_sent("shop.total", queue="far")
    assert_sent(add.s(2, 1), times=0)
    assert len(assert_sent) == 2

def test_groups(assert_sent):
    group(add.s(i % 2, 0) for i in range(10)).apply_async()
    assert_sent(group(add.s(i % 2, 0) for i in range(10)), times=1)
    with pytest.raises(AssertionError, match="sent 5 times, not at least 6"):
        assert_sent(group(add.s(1, 0) for _ in range(6)))

def test_later_steps_count_in_a_comparison(assert_sent):
    (add.s(1, 1) | add.s(2) | add.s(3)).delay()
    assert_sent(add.s(1, 1) | add.s(2) | add.s(3), times=1)
    assert_sent(add.s(1, 1) | add.s(2), times=0)
    assert_sent(add.s(1, 1), times=0)

def test_chords(assert_sent):
    chord([add.s(1, 1), add.s(2, 2)], total.s()).delay()
    assert_sent(chord([add.s(1, 1), add.s(2, 2)], total.s()), times=1)
    assert_sent(chord([add.s(1, 1), add.s(2, 2)], add.s(1)), times=0)

def test_nothing(assert_sent):
    assert_sent.nothing()
    add.delay(3, 3)
    with pytest.raises(AssertionError, match=r"shop.add\\(3, 3\\) to shop"):
        assert_sent.nothing()
    assert_sent.clear()
    assert_sent.nothing()

def test_fixtures_are_new_for_each_test(celerant_app, celerant_worker, assert_sent):
    assert_sent.nothing()
    assert celerant_worker.panel.worker_state.total() == {}
"""
    )
    ran.assert_outcomes(passed=6)


@pytest.mark.timeout(60)
def test_a_worker_runs_and_an_eager_app_runs_in_the_caller(project):
    ran = project(
        """
import threading

@app.task
def thread():
    return threading.get_ident()

def test_worker(celerant_worker):
    assert group(add.s(i, i) for i in range(3))().get(timeout=10) == [0, 2, 4]
    assert chord([add.s(1, 1), add.s(2, 2)], total.s())().get(timeout=10) == 6
    assert thread.delay().get(timeout=10) != threading.get_ident()

def test_eager(celerant_eager, assert_sent):
    assert thread.delay().get() == threading.get_ident()
    assert_sent.nothing()
    with pytest.raises(Exception, match="take the fixture celerant_eager away"):
        assert_sent(add.s(1, 1))

def test_the_settings_are_the_projects_own_again():
    assert app.conf.broker_url == "redis://127.0.0.1:1/0"
    assert app.conf.task_default_queue == "celery"
    assert not app.conf.task_always_eager
    assert not app.conf.is_set("result_backend")

class TestConfigured:
    @pytest.fixture
    def celerant_config(self):
        return {"task_default_queue": "mine"}

    def test_settings(self, assert_sent):
        add.delay(1, 1)
        assert_sent(add.s(1, 1), queue="mine")

def test_configured_settings_are_back():
    assert app.conf.task_default_queue == "celery"
"""
    )
    ran.assert_outcomes(passed=5)


@pytest.mark.timeout(60)
def test_failures_are_readable(project):
    ran = project(
        """
def test_sent(assert_sent):
    add.delay(1, 2)
    assert_sent(add.s(1, 3))

def test_compared():
    first = group([add.s(1, 1), add.s(2, 2) | total.s()])
    second = group([add.s(1, 1), add.s(2, 2) | total.s([1])])
    assert first == second
"""
    )
    ran.assert_outcomes(failed=2)
    ran.stdout.fnmatch_lines(
        [
            "*shop.add(1, 3): sent 0 times, not at least 1; what was sent:",
            "*shop.add(1, 2) to shop",
            "*- is expected, + is found",
            "*  group",
            "*    shop.add(1, 1)",
            "*-     shop.total(?1?)*",
            "*+     shop.total()*",
        ]
    )
    # The lines of the plugin itself tell nobody anything.
    ran.stdout.no_fnmatch_line("*recording.py*")


@pytest.mark.timeout(120)
def test_plugin_works_beside_xdist_and_celerys_own_plugin(project):
    ran = project(
        """
pytest_plugins = ["celery.contrib.pytest"]

@pytest.mark.parametrize("n", range(4))
def test_both(n, celery_app, celerant_worker, assert_sent):
    assert add.delay(n, n).get(timeout=10) == 2 * n
    assert_sent(add.s(n, n), times=1)
    assert celery_app.conf.broker_url == "memory://"
""",
        "-n2",
    )
    ran.assert_outcomes(passed=4)


@pytest.mark.timeout(60)
def test_an_app_is_made_for_a_project_that_names_none(pytester, plugin_arguments):
    pytester.makepyfile(
        """
from celerant import group

def test_own(celerant_app, celerant_worker):
    @celerant_app.task
    def double(x):
        return 2 * x

    assert group(double.s(i) for i in range(3))().get(timeout=10) == [0, 2, 4]
"""
    )
    pytester.runpytest_inprocess(*plugin_arguments).assert_outcomes(passed=1)


@pytest.mark.timeout(60)
def test_messages_on_a_broker_of_the_projects_own_are_left_there(project):
    # kombu's transport in files stands for a broker that others use too.
    ran = project(
        """
from kombu import Connection

def waiting(folder):
    options = {"data_folder_in": folder, "data_folder_out": folder}
    return Connection("filesystem://", transport_options=options)

class TestElsewhere:
    @pytest.fixture
    def celerant_config(self, tmp_path_factory):
        folder = str(tmp_path_factory.getbasetemp())
        options = {"data_folder_in": folder, "data_folder_out": folder}
        with waiting(folder) as connection:
            connection.SimpleQueue("celery").put("of somebody else")
        return {
            "broker_url": "filesystem://",
            "broker_transport_options": options,
        }

    def test_it(self, celerant_app):
        pass

def test_the_message_is_there(tmp_path_factory):
    with waiting(str(tmp_path_factory.getbasetemp())) as connection:
        message = connection.SimpleQueue("celery").get(block=False)
    assert message.payload == "of somebody else"
"""
    )
    ran.assert_outcomes(passed=2)


@pytest.mark.timeout(60)
def test_a_wrong_name_of_the_app_is_told(pytester, plugin_arguments):
    pytester.makeini("[pytest]\ncelerant_app = nowhere:app\n")
    pytester.makepyfile("def test_it(celerant_app): pass")
    ran = pytester.runpytest_inprocess(*plugin_arguments)
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["*celerant_app = nowhere:app: cannot import module*"])


def test_the_plugin_loads_no_more_than_pytest_needs():
    code = "import sys, celerant.testing.plugin; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()

    assert not {"kombu", "celery", "celerant.canvas.base"} & set(loaded)
