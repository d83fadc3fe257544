"""Messages hold no class of Celerant, with any serializer."""

from __future__ import annotations

import io
import json
import pickle
import uuid
from types import SimpleNamespace

import pytest
import yaml
from kombu.serialization import enable_insecure_serializers

from celerant import Celerant, EncodeError, chain, chord, group
from harness.capture import drain


class StockUnpickler(pickle.Unpickler):
    """Of a worker that has no Celerant."""

    def find_class(self, module, name):
        assert not module.startswith("celerant"), f"{module}.{name}"
        return super().find_class(module, name)


READERS = {
    "pickle": lambda body: StockUnpickler(io.BytesIO(body)).load(),
    "yaml": yaml.safe_load,
}


@pytest.fixture
def shop():
    enable_insecure_serializers()
    queue = f"plain-{uuid.uuid4().hex[:8]}"
    with Celerant("plain", broker="memory://") as app:
        app.conf.task_default_queue = queue

        @app.task(name="plain.add")
        def add(*args):
            """Take any arguments."""

        def bodies(canvas, serializer):
            """Return the bodies of the messages."""
            canvas.apply_async(serializer=serializer)
            return [message.body for message in drain("memory://", queue)]

        yield SimpleNamespace(add=add, bodies=bodies, app=app)


def _linked(s):
    return s(1).set(link=[s(2).set(link=s(3))], link_error=s(4))


#: Canvases with a callback, and canvases with callbacks inside.
CALLBACKS = {
    "task": _linked,
    "group": lambda s: group([_linked(s), s(5)]),
    "generator": lambda s: group(_linked(s) for _ in range(2)),
    "mapping": lambda s: group.map(s.type, [1, 2]),
    "chain": lambda s: chain(_linked(s), s(5)).set(link_error=[s(6)]),
    "chord": lambda s: chord([_linked(s), s(5)], _linked(s)),
    "chunks": lambda s: s.type.chunks([(1,), (2,)], 1),
    "starmap": lambda s: s.type.starmap([(1,), (2,)]),
    "nested": lambda s: chain(s(1), group([chord([_linked(s)], _linked(s)), s(7)])),
}
CANVASES = {
    "chain": lambda s: chain(_linked(s), _linked(s), group([_linked(s), s(8)])),
    "chord": lambda s: chord([_linked(s), s(2)], chain(_linked(s), s(3))),
    "group": lambda s: group([chain(_linked(s), _linked(s)), chord([s(1)], s(2))]),
    "map": lambda s: s.type.map([1, 2]),
    "chunks": lambda s: s.type.chunks([(1,), (2,)], 1),
}


def _s(shop):
    def s(*args):
        return shop.add.s(*args)

    s.type = shop.add
    return s


@pytest.mark.parametrize("serializer", READERS)
@pytest.mark.parametrize("callback", CALLBACKS)
def test_callbacks_are_the_plain_dicts_that_json_has(shop, callback, serializer):
    s = _s(shop)

    def sent(name):
        canvas = s(0).set(link=[CALLBACKS[callback](s)], link_error=s(9))
        (body,) = shop.bodies(canvas, name)
        return body

    _, _, embed = READERS[serializer](sent(serializer))
    assert json.loads(json.dumps(embed)) == json.loads(sent("json"))[2]


@pytest.mark.parametrize("serializer", READERS)
@pytest.mark.parametrize("canvas", CANVASES)
def test_the_embed_of_a_canvas_is_plain(shop, canvas, serializer):
    bodies = shop.bodies(CANVASES[canvas](_s(shop)), serializer)

    assert all(len(READERS[serializer](body)) == 3 for body in bodies)


def test_arguments_stay_as_they_are(shop):
    argument = shop.add.s(1)
    (body,) = shop.bodies(shop.add.s(argument), "pickle")

    assert type(pickle.loads(body)[0][0]) is type(argument)


def test_a_callback_is_not_changed_by_being_sent(shop):
    callback = CALLBACKS["nested"](_s(shop))
    before = pickle.dumps(callback)
    shop.bodies(shop.add.s(1).set(link=callback), "pickle")

    assert pickle.dumps(callback) == before
    assert type(callback.tasks[0]) is type(shop.add.s())


def test_a_callback_that_contains_itself_is_refused(shop):
    endless = shop.add.s(1)
    endless.options["link"] = [endless]
    with pytest.raises(EncodeError, match="pickle does not take"):
        shop.bodies(shop.add.s(1).set(link=endless), "pickle")
