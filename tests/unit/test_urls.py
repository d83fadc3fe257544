from __future__ import annotations

import pytest

from celerant.urls import masked, scheme, split


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ("redis://a", ["redis://a"]),
        ("amqp://a;amqp://b;", ["amqp://a", "amqp://b"]),
        (["amqp://a", "amqp://b;amqp://c"], ["amqp://a", "amqp://b", "amqp://c"]),
        ((), []),
        ("", []),
        (None, []),
    ],
)
def test_split(urls, expected):
    assert split(urls) == expected


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ("redis://u:hidden@h:1/0", "redis://u:**@h:1/0"),
        ("redis://h/0?password=hidden", "redis://h/0"),
        ("redis+socket://:hidden@/tmp/s", "redis+socket://:**@/tmp/s"),
        ("amqp://u:hidden@a//;amqp://u:hidden@b//", "amqp://u:**@a//;amqp://u:**@b//"),
        (["amqp://u:hidden@a//", "b"], "amqp://u:**@a//;b"),
        # kombu raises where the port is no number: a message must still be made.
        ("sentinel://:hidden@a:b/0", "sentinel://(not a URL)"),
    ],
)
def test_masked(urls, expected):
    assert masked(urls) == expected


def test_scheme_is_that_of_the_first():
    assert scheme("AMQP://a;redis://b") == "amqp"
    assert scheme("redis+socket:///s") == "redis+socket"
    assert scheme(None) == ""
