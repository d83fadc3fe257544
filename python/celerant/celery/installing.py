"""Installing the swap-in, and uninstalling it."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import warnings
from collections.abc import Callable, MutableMapping
from types import FrameType, FunctionType, TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import celery
from celery import canvas
from celery.backends import redis
from celery.result import GroupResult

from celerant.celery import announcing, headers
from celerant.celery.canvas import group
from celerant.celery.eligibility import is_of, of_frozen
from celerant.celery.functions import bare
from celerant.celery.results import late_result
from celerant.celery.sending import SETTINGS, apply_group, tell
from celerant.celery.versions import is_served
from celerant.common.per_process import PerProcess

__all__ = [
    "Installation",
    "install",
    "install_lazily",
    "is_lazy",
    "obstacle",
    "uninstall",
]

_lock = PerProcess(threading.Lock)

_WRAPPED = "somebody had wrapped {} before install()"


class _Patch:
    """One method of Celery's, and its replacement."""

    def __init__(
        self, owner: Any, name: str, replacement: Callable[[Any], Callable[..., Any]]
    ) -> None:
        self._owner = owner
        self._name = name
        self._make = replacement
        #: Replacements that are still referenced, and the original of each: other code
        #: may put back the method it found, even one of an earlier installation.
        self._made: MutableMapping[Any, Any] = WeakKeyDictionary()
        #: Whether a replacement is in place, or was when other code wrapped it.
        self._is_put = False

    def put(self) -> None:
        """Put a replacement in place, unless one is there, even under a wrapper."""
        if not self._is_there():
            original = vars(self._owner)[self._name]
            replacement = self._make(original)
            self._made[replacement] = original
            setattr(self._owner, self._name, replacement)
        self._is_put = True

    def _is_there(self) -> bool:
        """Whether a replacement stands in its place, or under a wrapper of others.

        It does not if Celery's own is back: other code has restored the method.
        """
        current = vars(self._owner)[self._name]
        return self._is_ours(current) or (self._is_put and not self._is_celerys())

    def _is_celerys(self) -> bool:
        current = vars(self._owner)[self._name]
        return is_of(current, sys.modules[self._owner.__module__])

    def _is_ours(self, function: Any) -> bool:
        return isinstance(function, FunctionType) and function in self._made

    def obstacle(self) -> str | None:
        """Return why no group comes here although it was installed, if none does."""
        name = f"{self._owner.__name__}.{self._name}"
        current = vars(self._owner)[self._name]
        if self._is_celerys():
            return f"somebody has put Celery's own {name} back since install()"
        module = sys.modules[self._owner.__module__]
        if self._is_ours(current) and not is_of(self._made[current], module):
            return _WRAPPED.format(name)
        return None

    def take(self) -> None:
        """Put the original back, unless other code has wrapped the replacement."""
        while self._is_ours(current := vars(self._owner).get(self._name)):
            setattr(self._owner, self._name, self._made[current])
            self._is_put = False
        if self._is_celerys():
            # Other code has put it back.
            self._is_put = False


class _State:
    """Whether replacements do something; else they pass through."""

    is_active = False
    #: Whether `CELERY_LOADER` did it, so that groups may have left before.
    is_lazy = False


class Installation:
    """Returned by `install`: ``with install(): ...`` uninstalls at the end."""

    def __enter__(self) -> Installation:  # noqa: PYI034 - Self is in typing from 3.11
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        uninstall()


def install(*, uuid4: bool = False) -> Installation:
    """Send the groups of all Celery apps of this process through Celerant.

    Installing again changes the settings and nothing else. Threads may install and
    send at the same time.

    Args:
        uuid4: Random task ids, like Celery's own. Otherwise ids derive from one random
            number per group: as unique and as hard to guess, cheaper to make and keep.
    Returns:
        A context manager that uninstalls.

    A Celery older than 5.5 or newer than 5.7 is left alone, with a `RuntimeWarning`:
    groups take its own path.

    The logger `celerant` says at level INFO that it is installed. A worker that has not
    set up logging by then says it when it starts.
    """
    with _lock.get():
        SETTINGS.uuid4 = uuid4
        if not is_served(celery.__version__):
            warnings.warn(
                f"celery {celery.__version__} is not known to celerant.celery, which "
                "serves 5.5 to 5.7: groups take Celery's own path",
                RuntimeWarning,
                stacklevel=2,
            )
            return Installation()
        is_new = not _State.is_active
        _State.is_active = True
        for patch in _PATCHES:
            patch.put()
        announcing.begin(obstacle)
    # Not under the lock: a handler may send a group.
    if is_new:
        announcing.tell(obstacle)
    return Installation()


def install_lazily() -> None:
    """Install as a Celery app makes its loader, unless it is installed.

    Celery reads the name of the loader as the app is made, and makes the loader when it
    first needs a setting. That may be in the middle of `group.apply_async`.
    """
    with _lock.get():
        if _State.is_active:
            return
        running = bare(vars(canvas.group)["apply_async"])
    install()
    _State.is_lazy = _State.is_active
    if running is not None and _is_in(running):
        tell("it was being sent when its app made the loader that installs the swap-in")


def _is_in(function: FunctionType) -> bool:
    """Whether this thread is in a call of `function`."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        if frame.f_code is function.__code__:
            return True
        frame = frame.f_back
    return False


def uninstall() -> None:
    """Leave Celery as it was before `install`.

    If other code has wrapped `group.apply_async` since, its wrapper stays, and the
    replacement under it passes through.
    """
    with _lock.get():
        _State.is_active = _State.is_lazy = False
        for patch in _PATCHES:
            patch.take()
        announcing.end()


def is_lazy() -> bool:
    """Whether `CELERY_LOADER` has installed it, so that groups may have left before."""
    return _State.is_lazy


def obstacle() -> str | None:
    """Return why groups do not come to Celerant in this process; None: they do."""
    if not _State.is_active:
        return "the swap-in is not in place: call celerant.celery.install()"
    return _PATCHES[0].obstacle()


def _group_apply_async(original: Any) -> Callable[..., Any]:
    is_wrapped = not is_of(original, canvas)

    @functools.wraps(original)
    def apply_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        # One of ours comes here when it has decided for Celery's own path.
        if not _State.is_active or isinstance(self, group):
            return original(self, *args, **kwargs)
        # A wrapper that was there before must be called for each group.
        if is_wrapped:
            tell(_WRAPPED.format("group.apply_async"))
            return original(self, *args, **kwargs)
        # A subclass's `super()` comes here too, with its own `self`.
        return apply_group(functools.partial(original, self), self, *args, **kwargs)

    return apply_async


def _chord_run(original: Any) -> Callable[..., Any]:
    is_wrapped = not is_of(original, canvas)

    @functools.wraps(original)
    def run(
        self: Any,
        header: Any,
        body: Any,
        partial_args: Any,
        app: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if is_wrapped or not _State.is_active:
            return original(self, header, body, partial_args, app, *args, **kwargs)
        headers.prepare(header, app or self._get_app(body))
        try:
            return original(self, header, body, partial_args, app, *args, **kwargs)
        finally:
            headers.dismiss(header)

    return run


def _group_freeze(original: Any) -> Callable[..., Any]:
    """Freeze without a subscription to every member: a chain does not send them yet."""
    is_wrapped = not is_of(original, canvas)

    @functools.wraps(original)
    def freeze(self: Any, *args: Any, **kwargs: Any) -> Any:
        if is_wrapped or not _State.is_active or of_frozen(self) is not None:
            return original(self, *args, **kwargs)
        group_id, results = self._freeze_group_tasks(*args, **kwargs)
        return late_result(self.app, group_id, results)

    return freeze


def _redis_apply_chord(original: Any) -> Callable[..., Any]:
    """Send a chord without a result of its header.

    Celery's own code makes one for a header of plain tasks, looks at it, and drops it.
    Making it subscribes to every member.
    """
    is_wrapped = not is_of(original, redis)

    @functools.wraps(original)
    def apply_chord(self: Any, header: Any, body: Any, **kwargs: Any) -> Any:
        if is_wrapped or not _State.is_active or not _is_plain(header[1]):
            return original(self, header, body, **kwargs)
        return None

    return apply_chord


def _is_plain(results: Any) -> bool:
    return type(results) is list and not any(
        isinstance(found, GroupResult) for found in results
    )


_PATCHES = (
    _Patch(canvas.group, "apply_async", _group_apply_async),
    _Patch(canvas.group, "freeze", _group_freeze),
    _Patch(canvas._chord, "run", _chord_run),  # noqa: SLF001 - Celery has no public one
    _Patch(redis.RedisBackend, "apply_chord", _redis_apply_chord),
)
