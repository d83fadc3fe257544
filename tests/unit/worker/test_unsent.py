from __future__ import annotations

from celerant.running.unsent import branches, followers


def sig(task_id, **options):
    return canvas("t", {}, None, task_id=task_id, **options)


def canvas(task, kwargs, kind, **options):
    return {
        "task": task,
        "args": [],
        "kwargs": kwargs,
        "options": options,
        "subtask_type": kind,
        "immutable": False,
    }


def group(*tasks, **options):
    return canvas("celery.group", {"tasks": list(tasks)}, "group", **options)


def chain(*tasks, **options):
    return canvas("celery.chain", {"tasks": list(tasks)}, "chain", **options)


def chord(body, *tasks, **options):
    kwargs = {"header": list(tasks), "body": body}
    return canvas("celery.chord", kwargs, "chord", **options)


def ids(requests):
    return [request.id for request in requests]


def test_steps_in_place_have_the_fields_of_their_messages():
    step = sig(
        "a",
        group_id="g",
        group_index=3,
        chord={"task": "body"},
        parent_id="p",
        root_id="r",
        reply_to="q",
    )
    (request,) = followers([step])
    assert (request.id, request.task) == ("a", "t")
    assert (request.group, request.group_index) == ("g", 3)
    assert request.chord == {"task": "body"}
    assert (request.parent_id, request.root_id) == ("p", "r")
    assert request.reply_to == "q"


def test_followers_go_into_groups_chords_and_chains():
    steps = [
        sig("a"),
        group(sig("b"), chain(sig("c"), sig("d")), task_id="gid"),
        chord(sig("body"), sig("header")),
        None,
    ]
    assert ids(followers(steps)) == ["a", "gid", "b", "", "c", "d", "", "body"]
    assert ids(followers(None)) == []


def test_a_deep_chain_of_groups_is_no_recursion():
    inner = sig("leaf")
    for _ in range(20_000):
        inner = group(inner)
    assert ids(followers([inner]))[-1] == "leaf"


def test_one_task_is_one_branch_with_its_own_errbacks():
    (branch,) = branches(sig("a", link_error=[{"task": "e"}], chain=[sig("b")]))
    assert branch.id == "a"
    assert branch.errbacks == [{"task": "e"}]
    assert branch.chain == [sig("b")]


def test_each_member_of_a_group_is_a_branch_with_the_groups_errbacks_once():
    own, common = {"task": "own"}, {"task": "common"}
    found = branches(
        group(sig("a", link_error=[own, common]), sig("b"), link_error=[common])
    )
    assert ids(found) == ["a", "b"]
    assert [branch.errbacks for branch in found] == [[own, common], [common]]


def test_a_chain_is_its_first_step_and_the_rest_follows():
    (branch,) = branches(chain(sig("a"), sig("b"), sig("c"), link_error={"task": "e"}))
    assert branch.id == "a"
    assert ids(followers(branch.chain)) == ["b", "c"]
    assert branch.errbacks == [{"task": "e"}]


def test_a_chord_is_its_body():
    found = branches(chord(sig("body"), sig("header"), link_error=[{"task": "e"}]))
    assert ids(found) == ["body"]
    assert found[0].errbacks == [{"task": "e"}]
