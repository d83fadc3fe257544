"""Every public name of Celery's is here, or docs/compatibility.md says why not."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import celery
import celery.app.control
import celery.app.task
import celery.canvas
import celery.exceptions
import celery.result
import pytest

import celerant
import celerant.exceptions
import celerant.results.tree
from celerant.app.control import Control
from celerant.app.inspecting import Inspect
from celerant.canvas.base import Canvas
from celerant.canvas.chain import Chain
from celerant.canvas.data import maybe_signature
from celerant.canvas.mapping import chunks, xmap, xstarmap
from celerant.results.result_set import ResultSet

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"


@pytest.fixture(autouse=True)
def _ours_is_current():
    """Apps that other tests made and dropped are no longer looked at."""
    OURS.set_current()


def _namespace(*things):
    return {thing.__name__: thing for thing in things}


def _nothing():
    """Never run."""


STOCK = celery.Celery("names", set_as_current=False)
OURS = celerant.Celerant("names")

#: By the name that the page uses: Celery's, and ours.
PAIRS = {
    "celery": (
        {name: getattr(celery, name) for name in celery.__all__},
        {name: getattr(celerant, name) for name in celerant.__all__},
    ),
    "app": (STOCK, OURS),
    "task": (STOCK.task(_nothing, shared=False), OURS.task(_nothing)),
    "signature": (celery.canvas.Signature, celerant.Signature),
    "group": (celery.canvas.group, celerant.group),
    "chain": (celery.canvas._chain, Chain),
    "chord": (celery.canvas.chord, celerant.chord),
    "chunks": (celery.canvas.chunks, chunks),
    "AsyncResult": (celery.result.AsyncResult, celerant.AsyncResult),
    "EagerResult": (celery.result.EagerResult, celerant.AsyncResult),
    "ResultSet": (celery.result.ResultSet, ResultSet),
    "GroupResult": (celery.result.GroupResult, celerant.GroupResult),
    "app.control": (celery.app.control.Control, Control),
    "inspect()": (celery.app.control.Inspect, Inspect),
    "celery.exceptions": (celery.exceptions, celerant.exceptions),
    "celery.result": (
        celery.result,
        {
            **_namespace(celerant.AsyncResult, celerant.GroupResult, ResultSet),
            **_namespace(celerant.results.tree.result_from_tuple),
        },
    ),
    "celery.canvas": (
        celery.canvas,
        {
            **_namespace(celerant.Signature, celerant.group, celerant.chord, chunks),
            **_namespace(celerant.signature, maybe_signature, xmap, xstarmap),
            "chain": celerant.chain,
        },
    ),
}
MODULES = {"celery.exceptions", "celery.result", "celery.canvas"}


def _names(thing, *, is_module):
    if isinstance(thing, dict):
        return set(thing)
    names = thing.__all__ if is_module else dir(thing)
    return {name for name in names if not name.startswith("_")}


def _get(thing, name):
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _missing_names(where):
    theirs, ours = PAIRS[where]
    is_module = where in MODULES
    return {
        name
        for name in _names(theirs, is_module=is_module)
        if not name.startswith("_")
        and name not in _names(ours, is_module=is_module)
        and not hasattr(ours, name)
    }


def _parameters(thing):
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return None
    return [p for p in found.parameters.values() if p.name != "self"]


_POSITIONAL = {
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
}


def _missing_parameters(where):
    """Yield `method(parameter)` for parameters that ours lacks, or has elsewhere."""
    theirs, ours = PAIRS[where]
    for name in _names(theirs, is_module=where in MODULES):
        one, other = _get(theirs, name), _get(ours, name)
        if other is None or not (callable(one) and callable(other)):
            continue
        given, taken = _parameters(one), _parameters(other)
        if given is None or taken is None:
            continue
        kinds = {p.kind for p in taken}
        by_name = {p.name for p in taken}
        ordered = [p.name for p in taken if p.kind in _POSITIONAL]
        for position, parameter in enumerate(given):
            if parameter.kind not in _POSITIONAL:
                continue
            is_taken = (
                parameter.name in by_name or inspect.Parameter.VAR_KEYWORD in kinds
            )
            # Callers do not count further than this; they use names.
            in_place = (
                position >= 2
                or ordered[position : position + 1] == [parameter.name]
                or inspect.Parameter.VAR_POSITIONAL in kinds
            )
            if not (is_taken and in_place):
                yield f"{name}({parameter.name})"


def _section(title):
    text = PAGE.read_text()
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def _listed(title):
    """Return the names of a table of the page, by their owners."""
    listed = {}
    for where, names, reason in re.findall(
        r"^\| `(.+?)` \| (.+?) \| (.+?) \|$", _section(title), re.MULTILINE
    ):
        assert len(reason) > 10, (where, names)
        listed.setdefault(where, []).extend(re.findall(r"`(.+?)`", names))
    for where, names in listed.items():
        assert len(names) == len(set(names)), where
    return {where: set(names) for where, names in listed.items()}


@pytest.mark.parametrize("where", PAIRS)
def test_names_that_are_not_there_have_a_reason(where):
    listed = _listed("Names that are not there").get(where, set())
    assert _missing_names(where) == listed


@pytest.mark.parametrize("where", PAIRS)
def test_parameters_that_are_not_there_have_a_reason(where):
    missing = set(_missing_parameters(where))
    assert missing == _listed("Parameters that are not there").get(where, set())


def test_the_page_lists_nothing_else():
    for title in ("Names that are not there", "Parameters that are not there"):
        assert set(_listed(title)) <= set(PAIRS)


def test_names_of_classes_are_classes():
    assert issubclass(celerant.GroupResult, ResultSet)
    assert issubclass(celerant.Signature, Canvas)


@pytest.mark.parametrize("name", ["conf", "control", "amqp", "backend"])
def test_parts_of_an_app_are_the_same_at_each_look(name):
    with celerant.Celerant("parts") as app:
        assert getattr(app, name) is getattr(app, name)


#: Pairs of which the first derives from the second in one of the two; as
#: `docs/compatibility.md` says.
_OTHER_BASES = {
    ("OperationalError", "CeleryError"),
    *((name, "CeleryError") for name in ("Ignore", "Reject", "Retry", "TaskPredicate")),
    *(
        (name, "TaskError")
        for name in (
            "IncompleteStream",
            "MaxRetriesExceededError",
            "QueueNotFound",
            "TaskRevokedError",
            "TimeoutError",
        )
    ),
    ("QueueNotFound", "ImproperlyConfigured"),
    ("ImproperlyConfigured", "QueueNotFound"),
}


def test_exceptions_derive_from_each_other_as_celerys_do():
    names = celerant.exceptions.__all__

    def derived(module):
        found = {name: getattr(module, name) for name in names}
        return {
            (one, other)
            for one in names
            for other in names
            if one != other and issubclass(found[one], found[other])
        }

    assert derived(celerant.exceptions) ^ derived(celery.exceptions) == _OTHER_BASES
