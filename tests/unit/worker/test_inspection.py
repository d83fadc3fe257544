"""Settings as `inspect conf` shows them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from celerant.worker.inspection import INSPECTIONS


def shown(**settings):
    panel = SimpleNamespace(app=SimpleNamespace(conf=settings))
    return INSPECTIONS["conf"](panel, with_defaults=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([5, "redis://:pw@host/0"], [5, "redis://:**@host/0"]),
        ([None, ("redis://:pw@host/0", 1.5)], [None, ["redis://:**@host/0", 1.5]]),
        (
            [{"url": "redis://:pw@host/0", "password": "pw"}],
            [{"url": "redis://:**@host/0", "password": "********"}],
        ),
        ([b"a@b"], [b"a@b"]),
        (["a", 1], ["a", 1]),
    ],
)
def test_lists_of_anything_are_shown_without_passwords(value, expected):
    assert shown(sentinels=value) == {"sentinels": expected}
