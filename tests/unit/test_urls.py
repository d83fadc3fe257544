from __future__ import annotations

import traceback

import pytest

from celerant import Celerant
from celerant.common.urls import check, masked, masked_text, scheme, split
from celerant.errors import SettingError


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
def test_split_separates_urls(urls, expected):
    assert split(urls) == expected


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ("redis://u:hidden@h:1/0", "redis://u:**@h:1/0"),
        ("redis://h/0?password=hidden", "redis://h/0"),
        ("redis+socket://:hidden@/tmp/s", "redis+socket://:**@/tmp/s"),
        ("amqp://u:hidden@a//;amqp://u:hidden@b//", "amqp://u:**@a//;amqp://u:**@b//"),
        (["amqp://u:hidden@a//", "b"], "amqp://u:**@a//;b"),
        ("sentinel://:hidden@a:1/0", "sentinel://:**@a:1/0"),
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
        # A password whose host is missing would be a port.
        ("redis://:hidden", "redis://:**"),
        ("redis://u:hid/den?x", "redis://u:**"),
        ("redis://u:1hid\nden", "redis://u:**"),
        ("u:hidden", "u:**"),
        ("redis://u:hidden@h:hidden/0", "redis://u:**@h:**"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis://[::1]:hidden/0", "redis://[::1]:**"),
        ("redis://[::1]/0", "redis://[::1]/0"),
        ("redis://h:/0", "redis://h:/0"),
        ("db+sqlite:///c:/a.db", "db+sqlite:///c:/a.db"),
    ],
)
def test_masked_hides_passwords(urls, expected):
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
        assert part not in told


@pytest.mark.parametrize(
    "url",
    [
        "u:hidden@host:1//",
        "u:hid://den@host",
        "u:hid://den",
        "amqp://u:12;hidden@host//",
    ],
)
def test_a_user_without_a_scheme_is_refused_without_the_password(url):
    # kombu takes it for a host, and shows it as one.
    for use in (Celerant.connection, lambda app: app.send_task("any")):
        with pytest.raises(SettingError, match="no scheme") as caught:
            use(Celerant("no-scheme", broker=url, backend="memory://"))
        told = "".join(traceback.format_exception(caught.value))
        assert "broker_url '" in told
        assert "hid" not in told


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


@pytest.mark.parametrize("url", ["u:hidden", "amqp://:hidden", "redis://u:hidden/0"])
def test_a_port_that_is_no_number_is_refused_without_showing_it(url):
    with pytest.raises(SettingError, match="its port is no number") as caught:
        Celerant("no-port", broker=url, backend="memory://").connection()
    assert "hidden" not in "".join(traceback.format_exception(caught.value))
    check("broker_url", ["host", "host:5672", "host:5672//", "[::1]:5672"])


def test_scheme_is_that_of_the_first():
    assert scheme("AMQP://a;redis://b") == "amqp"
    assert scheme("redis+socket:///s") == "redis+socket"
    assert scheme(None) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Error 111 connecting to 127.0.0.1:6390. Connection refused.",
            "Error 111 connecting to 127.0.0.1:6390. Connection refused.",
        ),
        (
            "no answer from redis://u:hid/den@h:1/0 in 5 s",
            "no answer from **@h:1/0 in 5 s",
        ),
        ("no route to u:hidden@h:1 yet", "no route to **@h:1 yet"),
        ("redis://:hid den@h: refused", "**@h: refused"),
        ("redis://a/0, then amqp://u:hidden", "redis://a/0, then amqp://u:**"),
        ("see redis://h/0?password=hidden now", "see redis://h/0 now"),
        ("redis://u:hidden@a, redis://u:hidden@b", "**@b"),
        ("", ""),
    ],
)
def test_masked_text_hides_passwords_and_nothing_else(text, expected):
    assert masked_text(text) == expected
