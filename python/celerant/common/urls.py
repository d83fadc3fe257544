"""URLs of brokers and result stores: failover lists, and text safe to show.

Source: ``kombu.Connection`` of kombu 5.7.0: a list, or one string with ``;`` between.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kombu.utils.url import url_to_parts

from celerant.errors import SettingError

__all__ = ["AMQP", "check", "masked", "masked_text", "scheme", "split", "transport"]

#: kombu's names of the transport that speaks AMQP.
AMQP = frozenset({"amqp", "amqps", "pyamqp", "py-amqp"})
#: The end of a URL in a list. A password may have such a character too, but no scheme
#: follows it.
_URLS = re.compile(r";(?=[A-Za-z][\w+.-]*://)")
_SCHEME = re.compile(r"[A-Za-z][\w+.-]*")
#: A URL in a text.
_IN_TEXT = re.compile(r"[A-Za-z][\w+.-]*://\S*")
_QUERY = re.compile(r"[?#]")
#: A name that is shown; escaped, or plain.
_USER = re.compile(r"[\w.+%~-]*")
#: Text instead of a port: perhaps a password without its ``@host``.
_NO_PORT = re.compile(r"^(\[[^]]*\]|(?!\[[^]]*\])[^:/]*):(?!\d*(?:/|$)).*", re.DOTALL)


def split(urls: str | Sequence[str] | None) -> list[str]:
    """Return the URLs of a failover list, in order; one URL is a list of one."""
    listed = [urls] if isinstance(urls, str) else urls or ()
    return [url for each in listed for url in each.split(";") if url]


def scheme(urls: str | Sequence[str] | None) -> str:
    """Return the scheme of the first URL, in lower case."""
    first = next(iter(split(urls)), "")
    return first.partition(":")[0].lower()


def transport(urls: str | Sequence[str] | None) -> str:
    """Return the transport of a broker, which is AMQP if the URL has no scheme."""
    first = next(iter(split(urls)), "")
    return scheme(first) if "://" in first else "amqp"


def masked(urls: str | Sequence[str] | None) -> str:
    """Return URLs as they may be shown: none with its password or its query.

    A password may hold unescaped characters that end a URL's parts, and the URL may
    lack its scheme: all text before the last ``@`` is hidden, except a plain user's
    name, and so is a port that is no number.
    """
    listed = [urls] if isinstance(urls, str) else urls or ()
    return ";".join(_masked(url) for each in listed for url in _URLS.split(each) if url)


def masked_text(text: str) -> str:
    """Return a text as it may be shown, such as an error's: URLs in it are masked.

    Before the last ``@`` all is hidden from the first URL on, or from that word on.
    """
    before, has_secret, after = text.rpartition("@")
    if has_secret:
        found = _IN_TEXT.search(before)
        start = before.rfind(" ") + 1 if found is None else found.start()
        before = f"{before[:start]}**@"
        place, has_more, rest = after.partition(" ")
        return f"{before}{_QUERY.split(place, maxsplit=1)[0]}{has_more}{rest}"
    return _IN_TEXT.sub(lambda url: _masked(url[0]), text)


def check(name: str, urls: str | Sequence[str] | None) -> None:
    """Refuse URLs that cannot be read, without showing a possible password.

    Raises:
        SettingError: One cannot be read; urllib's own text would show a part of it.
    """
    for url in split(urls):
        before, has_scheme, _ = url.partition("://")
        if (has_scheme or "@" in url) and not _SCHEME.fullmatch(before):
            # kombu would take all of it as the host's name, and show that.
            msg = (
                f"{name} {masked(urls)!r} has no scheme before its user or password; "
                "write amqp://, redis:// or the like before them"
            )
            raise SettingError(msg, name=name)
        try:
            # Without a scheme kombu reads no parts, and shows a bad port.
            url_to_parts(url if has_scheme else f"amqp://{url}")
        except ValueError:
            msg = (
                f"{name} {masked(urls)!r} cannot be read as a URL: its port is no "
                "number, or its user or password has characters such as / # ? @ that "
                "are to be escaped, by urllib.parse.quote(password, safe='')"
            )
            raise SettingError(msg, name=name) from None


def _masked(url: str) -> str:
    before, has_scheme, rest = url.partition("://")
    if not has_scheme or not _SCHEME.fullmatch(before):
        start, rest = "", url
    else:
        start = f"{before}://"
    secret, has_secret, rest = rest.rpartition("@")
    place = _NO_PORT.sub(r"\1:**", _QUERY.split(rest, maxsplit=1)[0])
    if not has_secret:
        return start + place
    query = _QUERY.search(secret)
    if query is not None and "=" in secret[query.start() :]:
        # In a query the text after an @ cannot be told apart either.
        return f"{start}**"
    user, has_password, _ = secret.partition(":")
    if not _USER.fullmatch(user):
        return f"{start}**@{place}"
    return f"{start}{user}{':**' if has_password else ''}@{place}"
