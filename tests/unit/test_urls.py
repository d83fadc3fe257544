from __future__ import annotations

import traceback

import pytest

from celerant import Celerant
from celerant.errors import SettingError
from celerant.urls import check, masked, scheme, split


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
        ("sentinel://:hidden@a:b/0", "sentinel://:**@a:b/0"),
        ("amqp://guest@host//", "amqp://guest@host//"),
        # A password that is not escaped: urllib would take a part of it for a port.
        ("redis://:hid/den@h:1/0", "redis://:**@h:1/0"),
        ("redis://u:hid#den@h:1/0", "redis://u:**@h:1/0"),
        ("redis://u:hid?den@h:1/0", "redis://u:**@h:1/0"),
        ("redis://u:hid@den@h:1/0", "redis://u:**@h:1/0"),
        ("redis://:12/34@h:1/0", "redis://:**@h:1/0"),
        ("redis://hid/den@h:1/0", "redis://**@h:1/0"),
        ("redis://:hid;den@h:1/0;redis://h:2", "redis://:**@h:1/0;redis://h:2"),
        ("redis://h/0?password=hid@den", "redis://**"),
        ("redis://u:hidden@h/0#?x=hidden", "redis://u:**@h/0"),
        # Without a scheme it is the host of an AMQP broker.
        ("u:hidden@h:1//", "u:**@h:1//"),
        ("u:hid://den@h", "u:**@h"),
        ("u:hidden@a;u:hidden@b", "u:**@b"),
        ("host:5672", "host:5672"),
    ],
)
def test_masked(urls, expected):
    assert masked(urls) == expected


UNREADABLE = [
    "redis://u:hid/den@host:1/0",
    "redis://u:hid#den@host:1/0",
    "redis://u:hid?den@host:1/0",
    "redis://u:hidden@host:hidden/0",
    "redis://u:[hidden@host:1/0",
]


@pytest.mark.parametrize("url", UNREADABLE)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url):
    with pytest.raises(SettingError) as caught:
        check("broker_url", ["redis://fine", url])
    told = "".join(traceback.format_exception(caught.value))
    assert "is to be escaped" in told or "are to be escaped" in told
    assert "u:**@host" in told
    for part in ("hidden", "'hid'", "den@"):
        assert part not in told.replace("@host:hidden", "")


@pytest.mark.parametrize("url", UNREADABLE[:3])
@pytest.mark.parametrize(
    "given",
    [{"broker": ..., "backend": "memory://"}, {"backend": ...}, {"broker": ...}],
)
def test_no_use_of_such_a_url_shows_the_password(url, given):
    urls = {name: url if value is ... else value for name, value in given.items()}
    with Celerant("unreadable-url", **urls) as app:
        assert "hid" not in repr(app)
        with pytest.raises(SettingError) as caught:
            app.send_task("any")
    told = "".join(traceback.format_exception(caught.value))
    assert "'hid'" not in told
    assert "den@" not in told


def test_scheme_is_that_of_the_first():
    assert scheme("AMQP://a;redis://b") == "amqp"
    assert scheme("redis+socket:///s") == "redis+socket"
    assert scheme(None) == ""
