from __future__ import annotations

import json

import pytest

from celerant import group
from celerant.canvas.chain import chain

#: More than 64 bits.
BIG = 2**70
#: Half of a pair of UTF-16, which JSON may hold and UTF-8 may not.
HALF = "\udc80"


def done(module, canvas, **options):
    """Return the result of a canvas that has run."""
    with module.app.worker(concurrency=1):
        result = canvas.apply_async(**options)
        result.get(timeout=20, propagate=False)
    return result


def pair(module, last):
    """Return a group whose first member ends in a group of two."""
    inner = group(module.add.s(1), last)
    return group([chain(module.add.s(1, 1), inner), module.add.s(1, 1)])


def test_a_member_that_is_a_group_is_shown_with_its_values(module, run):
    result = done(module, pair(module, module.add.s(2)))
    code, out, err = run("result", result.handle, "--index", "0")
    assert code == 0, err
    assert out.splitlines() == [
        f"{result[0].id}  SUCCESS",
        "2 members: 2 SUCCESS",
        "[3, 4]",
    ]
    code, out, _ = run("result", result.handle, "--index", "0", "--json")
    told = json.loads(out)
    assert (code, told["id"], told["index"]) == (0, result[0].id, 0)
    assert (told["state"], told["value"]) == ("SUCCESS", [3, 4])
    assert told["counts"]["SUCCESS"] == 2


def test_a_member_that_is_a_group_is_shown_with_its_failures(module, run):
    result = done(module, pair(module, module.fail.s()))
    code, out, err = run("result", result.handle, "--index", "0")
    assert code == 1, err
    assert f"{result[0].id}  FAILURE\n2 members: 1 SUCCESS, 1 FAILURE\n" in out
    assert "1 x ValueError: no" in out
    assert f"[1] {result[0][1].id}" in out
    code, out, _ = run("result", result.handle, "--index", "0", "--json")
    told = json.loads(out)
    assert (code, told["state"], told["counts"]["FAILURE"]) == (1, "FAILURE", 1)
    assert [one["indices"] for one in told["failures"]] == [[1]]
    assert "value" not in told


@pytest.mark.filterwarnings("ignore:waiting for a result")
def test_a_member_that_is_a_group_and_is_not_done_is_pending(module, run):
    result = pair(module, module.add.s(2)).apply_async()
    command = ("result", result.handle, "--index", "0", "--timeout", "0.1")
    code, out, err = run(*command)
    assert code == 4, err
    assert out.splitlines() == [f"{result[0].id}  PENDING", "2 members: 2 PENDING"]


def test_an_ignored_member_is_no_failure(module, run):
    @module.app.task(ignore_result=True)
    def silent():
        pass

    result = done(module, group([silent.s()]))
    assert run("report", result.handle)[0] == 0
    code, out, _ = run("result", result.handle, "--index", "0")
    assert (code, out) == (0, f"{result[0].id}  IGNORED\n")


def test_a_task_may_have_an_id_that_begins_as_handles_do(module, run):
    done(module, module.add.s(1, 1), task_id="celery-report-7")
    code, out, err = run("result", "celery-report-7", "--json")
    assert code == 0, err
    assert json.loads(out)["value"] == 2


def test_a_saved_group_may_have_an_id_that_begins_as_handles_do(module, run):
    result = done(module, group([module.add.s(1, 1)]), task_id="celebration-7")
    result.save()
    code, out, err = run("report", "celebration-7", "--json")
    assert code == 0, err
    assert json.loads(out)["done"] == 1


@pytest.mark.parametrize("value", [BIG, [{"n": -BIG}], f"a{HALF}", {HALF: 0.5}])
def test_a_result_is_json_whatever_numbers_and_text_it_has(module, run, value):
    @module.app.task
    def give():
        return value

    result = done(module, group([give.s()]))
    code, out, err = run("result", result.handle, "--index", "0", "--json")
    assert code == 0, err
    assert json.loads(out)["value"] == value


def test_an_error_is_shown_whatever_text_it_has(module, run):
    @module.app.task
    def refuse():
        raise ValueError(HALF)

    result = done(module, group([refuse.s()]))
    code, out, _ = run("result", result.handle, "--index", "0")
    assert code == 1
    assert "ValueError: \\udc80" in out


def test_a_result_without_an_index_is_told_how_to_see_the_whole_group(module, run):
    handle = done(module, group([module.add.s(1, 1)])).handle
    code, _, err = run("result", handle)
    told = " ".join(err.split())
    assert code == 2
    assert "needs --index" in told
    assert "`celerant report HANDLE`" in told
    assert "app.attach(handle).get()" in told


@pytest.mark.parametrize("cut", [20, -4])
def test_a_handle_that_was_cut_short_is_told_before_the_index(module, run, cut):
    handle = done(module, group([module.add.s(1, 1)])).handle[:cut]
    code, _, err = run("result", handle)
    assert code == 2
    assert "was cut or changed on its way" in " ".join(err.split())
    assert "--index" not in err
