"""First steps, and the errors of beginners."""

from __future__ import annotations

import pytest

from celerant import CanvasError, Celerant, group


@pytest.fixture
def two_apps():
    """A shop with a task, and an app that was made later."""
    with Celerant("celerant-test-shop") as shop:

        @shop.task
        def add(x, y):
            return x + y

        with Celerant("celerant-test-other"):
            yield shop, add


def test_a_generators_members_say_which_app(two_apps):
    shop, add = two_apps
    with shop.worker(concurrency=1):
        flat = group(add.s(i, i) for i in range(3))
        nested = group(group(add.s(i, 1) for i in range(2)) for _ in range(2))
        assert flat.app is shop
        assert flat().get(timeout=20) == [0, 2, 4]
        assert nested().get(timeout=20) == [1, 2, 1, 2]


def test_an_empty_generator_is_an_empty_group(two_apps):
    assert group(x for x in ()).apply_async().get() == []


@pytest.mark.parametrize(
    "make",
    [lambda a: a.s(1), lambda a: group(a.s(1, 2))],
    ids=["signature", "group"],
)
def test_a_pipe_takes_canvases_alone(two_apps, make):
    _, add = two_apps
    with pytest.raises(CanvasError, match=r"\| \.\.\."):
        make(add) | 3
    # dict's own operator would merge the two.
    with pytest.raises(CanvasError, match="not a signature"):
        {} | make(add)


@pytest.mark.parametrize("args", ["ab", 1, {"x": 1}])
def test_arguments_must_be_a_list_or_tuple(two_apps, args):
    _, add = two_apps
    with pytest.raises(TypeError, match="list or tuple"):
        add.apply_async(args)
    with pytest.raises(TypeError, match="list or tuple"):
        group([add.s()]).apply_async(args)


def test_a_single_tasks_error_names_the_task_once(two_apps):
    _, add = two_apps
    with pytest.raises(TypeError, match=r"^task \S+\.add: missing"):
        add.delay(1)


def test_a_coroutine_function_is_no_task(two_apps):
    shop, _ = two_apps

    async def wait():
        """Never awaited."""

    with pytest.raises(TypeError, match="coroutine"):
        shop.task(wait)


def test_celerys_tools_get_an_error_with_the_remedy(two_apps):
    shop, _ = two_apps
    with pytest.raises(AttributeError, match="to_celery"):
        _ = shop.user_options
