from __future__ import annotations

import json

import pytest

from celerant import Celerant, cli, group
from celerant.canvas.chain import chain
from harness.capture import drain


@pytest.fixture
def failed(module):
    """A group of three that failed and may be mended."""
    module.members = lambda: group(module.fail.s(i) for i in range(3))
    with module.app.worker(concurrency=1):
        result = module.members().apply_async(cancellable=True)
        result.wait(timeout=20)
    return result


@pytest.fixture
def nested(module):
    """A group whose first member ends in a group with a failure."""
    members = [
        chain(module.add.s(1, 1), group(module.fail.s(), module.add.s(1))),
        module.add.s(1, 1),
    ]
    with module.app.worker(concurrency=1):
        result = group(members).apply_async()
        result.wait(timeout=20)
    return result


def test_retry_sends_members_with_the_options_of_their_group(module, run, failed):
    made = module.members
    module.members = lambda: made().set(queue="clidesk-special")
    source = ("--source", f"{module.__name__}:members")
    # Another process does not know what the group was sent with.
    sender, module.app = module.app, Celerant(module.__name__, set_as_current=False)
    try:
        code, out, err = run("retry", failed.handle, "--failed", "--json", *source)
        assert code == 0, err
        assert json.loads(out)["sent"] == 3
        assert len(drain("memory://", "clidesk-special")) == 3
    finally:
        module.app = sender
        drain("memory://", "clidesk-special")


@pytest.mark.parametrize("kind", [iter, list])
def test_retry_takes_signatures_that_are_no_group(module, run, failed, kind):
    module.orders = lambda: kind([module.fail.s(i) for i in range(3)])
    source = ("--source", f"{module.__name__}:orders")
    code, out, err = run("retry", failed.handle, "--failed", "--json", *source)
    assert code == 0, err
    assert json.loads(out)["sent"] == 3


@pytest.mark.parametrize(
    "source", ["elsewhere:members", "{}:nowhere", "{}:app", "{}:step", "{}:__name__"]
)
def test_a_source_that_is_not_there_is_a_wrong_command_line(
    module, run, failed, source
):
    module.step = module.fail.s(1)
    named = source.format(module.__name__)
    assert run("retry", failed.handle, "--failed", "--source", named)[0] == 2


def test_failures_names_the_failed_members_of_a_member_that_is_a_group(run, nested):
    inner = nested[0]
    code, out, err = run("failures", nested.handle, "--all")
    assert code == 1, err
    assert "1 of 2 members" in out
    assert out.splitlines()[-2:] == [
        f"[0] {inner.id}  ValueError('no')",
        f"[0][0] {inner[0].id}  ValueError('no')",
    ]
    code, out, _ = run("failures", nested.handle, "--all", "--json")
    assert code == 1
    error = "ValueError('no')"
    assert json.loads(out)["members"] == [
        {
            "index": 0,
            "id": inner.id,
            "error": error,
            "members": [{"index": 0, "id": inner[0].id, "error": error}],
        }
    ]


def test_failures_counts_a_member_that_is_a_group(run, nested):
    code, out, _ = run("failures", nested.handle, "--json")
    assert (code, json.loads(out)["failed"]) == (1, 1)


def test_failures_counts_and_names_results_that_have_expired(
    module, run, failed, monkeypatch
):
    module.app.backend.forget([member.id for member in failed])
    monkeypatch.setattr(
        "celerant.results.tracking.members.Members.may_have_expired", lambda _: True
    )
    code, out, _ = run("failures", failed.handle, "--all", "--json")
    told = json.loads(out)
    assert (code, told["failed"]) == (1, 3)
    assert told["failures"][0]["exc_type"] == "celerant.errors.ResultExpired"
    assert [one["index"] for one in told["members"]] == [0, 1, 2]
    assert cli.main(["report", failed.handle, "-A", module.__name__]) == 1
