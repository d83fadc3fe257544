"""What `dir` lists: what users need, and nothing that only the package uses."""

from __future__ import annotations

import celerant
from celerant import chord, group


def listed(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


def test_the_package_lists_its_public_names_and_modules():
    names = listed(celerant)
    assert set(celerant.__all__) <= names
    assert {"metrics", "telemetry", "testing", "signals", "errors"} <= names
    # What the module itself imports.
    assert not names & {"Any", "annotations", "importlib", "logging", "warnings"}
    for name in names - set(celerant.__all__):
        assert name == name.lower()


def test_objects_list_what_users_need(shop):
    members = group([shop.add.s(1, 1), shop.add.s(2, 2)])
    result = members.apply_async()
    for thing, wanted in [
        (shop.app, {"task", "worker", "control", "attach", "asend", "conf"}),
        (shop.add, {"s", "delay", "apply_async", "retry", "request", "name"}),
        (shop.add.s(1, 1), {"apply_async", "set", "link", "freeze", "clone"}),
        (members, {"apply_async", "resume", "map", "starmap"}),
        (chord(members, shop.add.s(1)), {"apply_async", "resume"}),
        (result, {"get", "counts", "handle", "report", "progress_bar", "then"}),
        (result[0], {"get", "state", "traceback", "index", "revoke"}),
    ]:
        assert wanted <= listed(thing)


def test_objects_do_not_list_what_only_the_package_uses(shop):
    members = group([shop.add.s(1, 1), shop.add.s(2, 2)])
    result = members.apply_async()
    internal = {
        "child_setup",
        "dump_models",
        "given_options",
        "go_on_as",
        "members",
        "merged_options",
        "own_app",
        "roster",
        "seed",
        "sender",
        "sent_options",
        "settle",
    }
    for thing in (shop.app, shop.add, members, shop.add.s(1, 1), result, result[0]):
        assert not internal & listed(thing)
    # They are there all the same.
    assert result.members.barrier is not None
