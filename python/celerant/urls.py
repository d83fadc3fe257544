"""URLs of brokers and result stores: failover lists, and what may be shown of them.

Source: ``kombu.Connection`` of kombu 5.7.0: a list, or one string with ``;`` between.
"""

from __future__ import annotations

from collections.abc import Sequence

from kombu.utils.url import maybe_sanitize_url

__all__ = ["masked", "scheme", "split"]


def split(urls: str | Sequence[str] | None) -> list[str]:
    """Return the URLs of a failover list, in order; one URL is a list of one."""
    listed = [urls] if isinstance(urls, str) else urls or ()
    return [url for each in listed for url in each.split(";") if url]


def scheme(urls: str | Sequence[str] | None) -> str:
    """Return the scheme of the first URL, in lower case."""
    first = next(iter(split(urls)), "")
    return first.partition(":")[0].lower()


def masked(urls: str | Sequence[str] | None) -> str:
    """Return URLs as they may be shown: none with its password or its query."""
    return ";".join(_masked(url) for url in split(urls))


def _masked(url: str) -> str:
    try:
        shown: str = maybe_sanitize_url(url)
    except ValueError:  # e.g. a port that is no number
        return f"{scheme(url)}://(not a URL)"
    return shown
