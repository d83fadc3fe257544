"""Tables and columns as the arguments of tasks: NumPy, pandas, Polars, pyarrow.

They come through Arrow's C stream interface (``__arrow_c_stream__``), which Polars,
pyarrow and others have. pyarrow makes it of what pandas and NumPy have.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Protocol

from kombu.utils import json

from celerant._core import Table
from celerant.common.printable import line
from celerant.errors import CanvasError

__all__ = ["Columns", "columnar"]

_STREAM = "__arrow_c_stream__"


class Columns(Protocol):
    """A table or a column that tells Arrow's C stream interface."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a PyCapsule with an ArrowArrayStream."""


def columnar(items: Any, *, star: bool) -> Table | None:
    """Return the rows of a table, or of a column; None if `items` is neither.

    Args:
        items: What `group.map` or `group.starmap` was given.
        star: Whether each row is all arguments of a task, and not one.

    Raises:
        CanvasError: A column whose type has no place in a message, a table in the place
            of a column or the other way round, or a package is missing.
    """
    kind = type(items)
    if _is_of(items, "numpy", "ndarray"):
        source = _of_numpy(items, star=star)
    elif _is_of(items, "pandas", "DataFrame") or _is_of(items, "pandas", "Series"):
        source = _of_pandas(items, star=star)
    elif hasattr(kind, _STREAM):
        _refuse_objects(items, star=star)
        source = items
    elif _is_of(items, "pyarrow", "Array"):
        source = _pyarrow("a pyarrow array", star=star).chunked_array([items])
    else:
        return None
    if not star and (hasattr(source, "columns") or hasattr(source, "column_names")):
        msg = (
            "group.map takes a column, and this is a table: pass one column, such as "
            "table['name'], or use group.starmap for the rows"
        )
        raise CanvasError(msg, path="group")
    try:
        return Table(source, star, json.loads)
    except CanvasError as exc:
        raise CanvasError(_where(star=star, reason=str(exc)), path="group") from None


def _refuse_objects(items: Any, *, star: bool) -> None:
    """Refuse Polars' columns of objects, for which it gives their addresses.

    Raises:
        CanvasError: There is one.
    """
    if type(items).__module__.partition(".")[0] != "polars":
        return
    kinds = getattr(items, "dtypes", None) or [getattr(items, "dtype", None)]
    if any(str(kind) == "Object" for kind in kinds):
        reason = "a column of Polars' type Object has no place in a message; cast it"
        raise CanvasError(_where(star=star, reason=reason), path="group")


def _is_of(items: Any, package: str, name: str) -> bool:
    """Whether it is of a class of a package, which need not be imported."""
    if package not in sys.modules:
        return False
    kind = getattr(sys.modules[package], name, None)
    return isinstance(kind, type) and isinstance(items, kind)


def _of_pandas(items: Any, *, star: bool) -> Any:
    """Return it without its index; missing values become None."""
    pyarrow = _pyarrow(f"a pandas {type(items).__name__}", star=star)
    is_table = hasattr(items, "columns")
    try:
        if is_table:
            return pyarrow.Table.from_pandas(items, preserve_index=False)
        return _chunked(pyarrow, pyarrow.Array.from_pandas(items))
    except (pyarrow.ArrowException, TypeError, ValueError) as exc:
        raise _unmade("pandas", star=star, exc=exc) from exc


def _of_numpy(items: Any, *, star: bool) -> Any:
    """Return a table of the fields of an array, of its columns, or one column."""
    pyarrow = _pyarrow("a NumPy array", star=star)
    names = items.dtype.names
    if star and items.ndim == 1 and names:
        columns = {name: items[name] for name in names}
    elif star and items.ndim == 2 and not names:  # noqa: PLR2004 - rows and columns
        columns = {str(number): items[:, number] for number in range(items.shape[1])}
    elif not star and items.ndim == 1 and not names:
        columns = {}
    else:
        wanted = (
            "group.starmap takes a structured array, or one of two dimensions"
            if star
            else "group.map takes an array of one dimension without fields"
        )
        msg = f"{wanted}, and this has the shape {items.shape} and {items.dtype}"
        raise CanvasError(msg, path="group")
    try:
        if star:
            return pyarrow.table({k: pyarrow.array(v) for k, v in columns.items()})
        return _chunked(pyarrow, pyarrow.array(items))
    except (pyarrow.ArrowException, TypeError, ValueError) as exc:
        raise _unmade("NumPy", star=star, exc=exc) from exc


def _chunked(pyarrow: Any, array: Any) -> Any:
    if isinstance(array, pyarrow.ChunkedArray):
        return array
    return pyarrow.chunked_array([array])


def _pyarrow(what: str, *, star: bool) -> Any:
    try:
        return importlib.import_module("pyarrow")
    except ImportError as exc:
        reason = f"{what} is read by pyarrow; install it with pip install pyarrow"
        raise CanvasError(_where(star=star, reason=reason), path="group") from exc


def _unmade(library: str, *, star: bool, exc: Exception) -> CanvasError:
    reason = f"pyarrow cannot read this of {library}: {line(exc)}; cast it first"
    return CanvasError(_where(star=star, reason=reason), path="group")


def _where(*, star: bool, reason: str) -> str:
    return f"group.{'starmap' if star else 'map'}: {reason}"
