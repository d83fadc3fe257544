"""Options of later tasks are checked before anything leaves."""

from __future__ import annotations

import pytest

from celerant import Celerant, SettingError, chain, chord, group
from harness.capture import drain


@pytest.fixture
def task():
    with Celerant("later-options") as app:
        yield app.task(name="later.task")(print)
    drain("memory://", "later-options")


CANVASES = {
    "body": lambda s, bad: chord([s()], bad),
    "body of a generator": lambda s, bad: chord((s() for _ in range(2)), bad),
    "step": lambda s, bad: chain(s(), s(), bad),
    "step in a body": lambda s, bad: chord([s()], chain(s(), bad)),
    "member in a step": lambda s, bad: chain(s(), group(s(), bad), s()),
    "chain in a group": lambda s, bad: group(s(), chain(s(), bad)),
    "chord in a header": lambda s, bad: chord([s(), chord([s()], bad)], s()),
    "link": lambda s, bad: s().set(link=[s(), bad]),
    "errback": lambda s, bad: s().set(link_error=bad),
    "link of a link": lambda s, bad: s().set(link=s().set(link=bad)),
    "link of a group's call": lambda s, bad: group(s()).set(link=bad),
    "link of a step": lambda s, bad: chain(s(), s().set(link=bad)),
    "chain as a link": lambda s, bad: s().set(link=chain(s(), bad)),
    "canvas as a body": lambda s, bad: chord([s()], chain(s(), s()).set(**bad.options)),
}


@pytest.mark.parametrize("canvas", CANVASES.values(), ids=CANVASES)
@pytest.mark.parametrize(("name", "value"), [("foo", 1), ("countdown", "soon")])
def test_options_of_later_messages_are_refused_at_the_send(task, canvas, name, value):
    made = canvas(task.si, task.si().set(**{name: value}))
    with pytest.raises(SettingError, match=name) as caught:
        made.apply_async()
    assert caught.value.name == name
    assert drain("memory://", "later-options") == []


def test_options_of_a_call_s_links_are_refused_with_their_place(task):
    with pytest.raises(SettingError, match=r"link\[0\]: task later.task") as caught:
        task.apply_async(link=task.si().set(foo=1))
    assert caught.value.path == "task.link[0]"


def test_a_generator_is_not_drawn_before_its_send(task):
    drawn = []

    def members():
        for index in range(3):
            drawn.append(index)
            yield task.si()

    made = chain(task.si(), group(task.si(), task.si()), task.si().set(foo=1))
    with pytest.raises(SettingError):
        chord(members(), made).apply_async()
    assert len(drawn) <= 1
