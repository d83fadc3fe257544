"""Options of ``@app.task``: every one of Celery's is known and has its effect."""

from __future__ import annotations

import inspect
import re

import celery
import pytest
from celery.app import autoretry
from celery.app.task import extract_exec_options

from celerant import Celerant, SettingError, Task, group
from celerant.tasks.options import DECORATOR, HOOKS, OPTIONS
from harness.options_page import PAGE, page

#: Attributes of Celery's class that are no options: made by its decorator or `bind`.
_NOT_OPTIONS = {
    "MaxRetriesExceededError": "an error class, here too",
    "OperationalError": "an error class",
    "from_config": "which options are settings",
    "name": "of the decorator",
    "request": "a property",
}


def celerys_options():
    found = {
        name
        for name, value in vars(celery.Task).items()
        if not name.startswith("_")
        and not inspect.isfunction(value)
        and not isinstance(value, classmethod)
    }
    found |= {name for name, _ in celery.Task.from_config}
    found |= set(re.findall(r"options\.get\(\s*'(\w+)'", inspect.getsource(autoretry)))
    found |= set(extract_exec_options(None))
    # Those that Celery deprecates.
    found |= set(re.findall(r"'(\w+)'", inspect.getsource(celery.Task.bind))) & {
        "exchange_type"
    }
    return found - _NOT_OPTIONS.keys()


def celerys_decorator():
    found = set(inspect.signature(celery.Celery._task_from_fun).parameters)
    source = inspect.getsource(celery.Celery.task)
    found |= set(
        re.findall(r"(\w+)=", re.search(r"inner_create_task_cls\((.*?)\):", source)[1])
    )
    return found - {"self", "fun", "options"}


def celerys_hooks():
    return {
        name
        for name, value in vars(celery.Task).items()
        if re.match(r"on_|before_|after_|shadow_name", name)
        and (inspect.isfunction(value) or isinstance(value, classmethod))
    }


def test_the_page_of_options_is_made_of_the_tables():
    assert PAGE.read_text() == page(), "run python tests/harness/options_page.py"


def test_every_option_of_celery_is_in_the_table():
    # `run` is a method there.
    assert celerys_options() == OPTIONS.keys() - {"run"}


def test_every_argument_of_celerys_decorator_is_in_the_table():
    assert celerys_decorator() == DECORATOR.keys()


def test_every_hook_of_celery_is_a_method_of_tasks():
    assert celerys_hooks() == HOOKS.keys()
    for hook in HOOKS:
        theirs = inspect.signature(getattr(celery.Task, hook))
        assert list(inspect.signature(getattr(Task, hook)).parameters) == list(
            theirs.parameters
        ), hook


def test_defaults_and_settings_are_celerys():
    settings = dict(celery.Task.from_config)
    for name, option in OPTIONS.items():
        assert option.setting == settings.get(name), name
        # Not getattr: that of `app` binds the class, for all tests after it.
        theirs = inspect.getattr_static(celery.Task, name, None)
        if option.treatment == "honoured" and option.setting is None:
            # `strict_typing` of the app, which is True.
            assert option.default == (True if name == "typing" else theirs) or (
                name.startswith(("retry_", "autoretry", "dont_"))
            ), name


@pytest.fixture
def app():
    with Celerant("options") as app:
        yield app


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, option in OPTIONS.items()
        if option.treatment != "refused" and not option.values.takes(object())
    ],
)
def test_option_of_a_wrong_type_is_refused_by_its_name(app, name):
    with pytest.raises(SettingError, match=rf"task t: {name} must be ") as caught:
        app.task(name="t", **{name: object()})(len)
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("acks_late", "no"),
        ("ignore_result", "false"),
        ("time_limit", "ten"),
        ("time_limit", float("inf")),
        ("soft_time_limit", -1),
        ("max_retries", 1.5),
        ("default_retry_delay", "soon"),
        ("rate_limit", "10/fortnight"),
        ("priority", "high"),
        ("delivery_mode", 3),
        ("throws", "KeyError"),
        ("autoretry_for", [KeyError()]),
        ("queue", 5),
    ],
)
def test_impossible_value_is_refused_when_the_task_is_made(app, name, value):
    with pytest.raises(SettingError, match=name):
        app.task(name="t", **{name: value})(len)


@pytest.mark.parametrize(
    "name", [n for n, o in OPTIONS.items() if o.treatment == "refused"]
)
def test_option_that_no_task_can_have_is_refused_with_the_reason(app, name):
    with pytest.raises(SettingError, match=OPTIONS[name].remark):
        app.task(name="t", **{name: "x"})(len)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("max_retry", "max_retries"),
        ("ack_late", "acks_late"),
        ("queues", "queue"),
        ("onfailure", "on_failure"),
    ],
)
def test_misspelt_option_is_refused_with_the_nearest_name(app, name, near):
    with pytest.raises(SettingError, match=f"did you mean '{near}'") as caught:
        app.task(name="t", **{name: 1})(len)
    assert caught.value.nearest == near


def test_other_names_are_attributes_of_the_task(app):
    @app.task(bind=True, owner="billing", db_name="main")
    def job(self):
        return self.owner, self.db_name

    assert (job.owner, job.db_name) == ("billing", "main")
    with app.worker():
        assert job.delay().get(timeout=10) == ["billing", "main"]


def test_options_without_a_value_follow_the_settings(app):
    task = app.task(name="t")(len)
    assert task.acks_late is False
    app.conf.task_acks_late = True
    assert task.acks_late is True
    assert app.task(name="u", acks_late=False)(len).acks_late is False


def test_single_class_in_throws_is_expected(app, caplog):
    @app.task(throws=KeyError)
    def fails():
        raise KeyError("x")

    @app.task(throws=KeyError)
    def works():
        return 5

    with app.worker(), caplog.at_level("INFO", logger="celerant.worker"):
        assert works.delay().get(timeout=10) == 5
        with pytest.raises(KeyError):
            fails.delay().get(timeout=10)
    assert "raised expected: KeyError('x')" in caplog.text


@pytest.mark.parametrize("trail", [True, False])
def test_task_without_trail_has_no_children(app, trail):
    @app.task
    def inner():
        return 1

    @app.task(trail=trail)
    def outer():
        inner.delay()

    with app.worker():
        result = outer.delay()
        result.get(timeout=10)
        assert len(result.children or ()) == int(trail)


def test_filter_gets_the_task_and_makes_the_decorators_value(app):
    made = app.task(name="t", filter=lambda task: (task.name, task))(len)
    assert made == ("t", app.tasks["t"])


def test_shared_task_of_an_app_is_in_every_app(app):
    @app.task(shared=True, name="options.shared", max_retries=7)
    def shared():
        return 1

    with Celerant("options-other") as other:
        assert other.tasks["options.shared"].max_retries == 7
        assert other.tasks["options.shared"] is not shared

    @app.task(shared=False, lazy=False, name="options.own")
    def own():
        return 1

    with Celerant("options-third") as third:
        assert "options.own" not in third.tasks


def test_time_limits_of_the_settings_go_into_messages(app):
    task = app.task(name="t")(len)
    app.conf.update(task_time_limit=30, task_soft_time_limit=20)
    assert task.sent_options()["time_limit"] == 30
    assert task.sent_options()["soft_time_limit"] == 20


def test_option_set_later_goes_into_messages(app):
    task = app.task(name="t")(len)
    assert task.given_options() == {}
    task.priority = 4
    assert task.given_options() == {"priority": 4}


def test_stored_eager_results_are_the_tasks_choice(app):
    @app.task(store_eager_result=True)
    def stored():
        return 1

    @app.task
    def lost():
        return 1

    assert app.AsyncResult(stored.apply().id).state == "SUCCESS"
    assert app.AsyncResult(lost.apply().id).state == "PENDING"


def test_shadow_name_is_asked_of_each_call(app):
    def shadow_name(_task, args, _kwargs, options):
        return f"job {args[0]} {options.get('priority')}"

    seen = []

    @app.task(bind=True, shadow_name=shadow_name)
    def tells(self, _x):
        seen.append(self.request.shadow)

    with app.worker():
        group(tells.s(i) for i in range(3))().get(timeout=10)
        tells.apply_async((9,), priority=3).get(timeout=10)
        tells.apply_async((9,), shadow="other").get(timeout=10)
    assert sorted(seen) == [
        "job 0 None",
        "job 1 None",
        "job 2 None",
        "job 9 3",
        "other",
    ]
