"""Tables and columns as arguments: the messages that tuples of their values make."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celerant import CanvasError, Celerant, chord, group
from celerant._core import Table
from celerant.canvas import columns
from celerant.errors import ArgumentError
from harness.capture import drain

pytestmark = pytest.mark.timeout(300)
WAIT = 60
MOMENT = datetime.fromisoformat("2020-01-02T03:04:05")
MOMENTS = st.datetimes(
    datetime.fromisoformat("1700-01-01"), datetime.fromisoformat("2200-01-01")
)


def integers(bits, *, signed=True):
    low = -(1 << (bits - 1)) if signed else 0
    high = (1 << (bits - 1 if signed else bits)) - 1
    return st.integers(low, high)


def whole(unit, values=MOMENTS):
    """Cut moments to whole `unit`."""
    cut = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": 1}[unit]
    return values.map(lambda one: one.replace(microsecond=one.microsecond // cut * cut))


def decimals(precision, scale):
    most = 10**precision - 1
    # Not by arithmetic, which rounds to 28 digits.
    return st.integers(-most, most).map(lambda n: Decimal(f"{n}E{-scale}"))


TEXT = st.text(max_size=8)
#: Types and values of theirs.
FLAT = {
    pa.null(): st.none(),
    pa.bool_(): st.booleans(),
    **{getattr(pa, f"int{bits}")(): integers(bits) for bits in (8, 16, 32, 64)},
    **{
        getattr(pa, f"uint{bits}")(): integers(bits, signed=False)
        for bits in (8, 16, 32, 64)
    },
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.string_view(): TEXT,
    pa.binary(): st.binary(max_size=8),
    pa.large_binary(): st.binary(max_size=8),
    pa.binary_view(): st.binary(max_size=20),
    pa.binary(3): st.binary(min_size=3, max_size=3),
    pa.date32(): st.dates(),
    pa.date64(): st.dates(),
    pa.time32("s"): st.times().map(lambda one: one.replace(microsecond=0)),
    pa.time32("ms"): whole("ms", st.times()),
    pa.time64("us"): st.times(),
    pa.time64("ns"): st.times(),
    **{pa.timestamp(unit): whole(unit) for unit in ("s", "ms", "us", "ns")},
    pa.decimal128(10, 3): decimals(10, 3),
    pa.decimal128(12, 12): decimals(12, 12),
    pa.decimal256(50, 7): decimals(50, 7),
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from(["a", "b", "ü"]),
}
#: The same with a time zone; Python's values of them show another class of zones.
ZONED = {
    pa.timestamp("us", "UTC"): MOMENTS.map(
        lambda one: one.replace(tzinfo=timezone.utc)
    ),
    pa.timestamp("ms", "+05:30"): whole("ms").map(
        lambda one: one.replace(tzinfo=timezone(timedelta(hours=5, minutes=30)))
    ),
    pa.timestamp("s", "-01:00"): whole("s").map(
        lambda one: one.replace(tzinfo=timezone(timedelta(hours=-1)))
    ),
}
#: Of these pyarrow gives pandas' class.
NANOSECONDS = {pa.timestamp("ns")}


def maybe(values):
    return st.none() | values


@st.composite
def nested(draw):
    """Draw a type, perhaps of lists and structs, and values of it."""
    types = [*FLAT.items(), *ZONED.items()]
    kind, values = draw(st.sampled_from(types))
    for _ in range(draw(st.integers(0, 2))):
        form = draw(st.sampled_from(["list", "large", "fixed", "struct", "map"]))
        inner = maybe(values)
        if form == "list":
            kind, values = pa.list_(kind), st.lists(inner, max_size=3)
        elif form == "large":
            kind, values = pa.large_list(kind), st.lists(inner, max_size=3)
        elif form == "fixed":
            kind = pa.list_(kind, 2)
            values = st.lists(inner, min_size=2, max_size=2)
        elif form == "struct":
            kind = pa.struct([("x", kind), ("y", pa.int8())])
            values = st.fixed_dictionaries({"x": inner, "y": maybe(integers(8))})
        else:
            kind = pa.map_(pa.string(), kind)
            values = st.lists(st.tuples(TEXT, inner), max_size=2)
    return kind, values


@st.composite
def tables(draw):
    """Draw a table of some columns, in chunks of any size."""
    size = draw(st.integers(0, 6))
    made = {}
    for number in range(draw(st.integers(1, 3))):
        kind, values = draw(nested())
        drawn = draw(st.lists(maybe(values), min_size=size, max_size=size))
        made[f"column {number}"] = pa.array(drawn, kind)
    table = pa.table(made)
    if draw(st.booleans()):
        table = pa.concat_tables([table, table.slice(draw(st.integers(0, size)))])
    return table.slice(draw(st.integers(0, 3)))


def rows_of(table):
    return list(zip(*[column.to_pylist() for column in table.columns], strict=True))


@pytest.fixture(scope="module")
def sender():
    with Celerant("celerant-test-columns") as app:
        app.conf.task_ignore_result = True

        @app.task(name="t")
        def take(*_args):
            return None

        yield app
    drain("memory://", "celerant-test-columns")


def sent(app, canvas, **options):
    """Return body and `argsrepr` of each message of a group, in order."""
    canvas.apply_async(**options)
    messages = drain("memory://", "celerant-test-columns")
    return [
        (one.headers["group_index"], one.body, one.headers["argsrepr"])
        for one in messages
    ]


@given(table=tables())
def test_rows_are_the_tuples_of_pythons_values(sender, table):
    by_table = sent(sender, group.starmap(sender.tasks["t"], table))
    by_tuples = sent(sender, group.starmap(sender.tasks["t"], rows_of(table)))
    assert [one[:2] for one in by_table] == [one[:2] for one in by_tuples]


@given(data=st.data())
def test_reprs_are_those_of_pythons_values(sender, data):
    kind = data.draw(
        st.sampled_from([kind for kind in FLAT if kind not in NANOSECONDS])
    )
    values = data.draw(st.lists(maybe(FLAT[kind]), min_size=1, max_size=4))
    column = pa.chunked_array([pa.array(values, kind)])
    by_column = sent(sender, group.map(sender.tasks["t"], column))
    by_values = sent(sender, group.map(sender.tasks["t"], column.to_pylist()))
    assert by_column == by_values


@given(data=st.data())
def test_polars_gives_the_same(sender, data):
    frame = pl.DataFrame(
        {
            "n": data.draw(st.lists(maybe(integers(64)), min_size=3, max_size=3)),
            "f": data.draw(st.lists(maybe(st.floats()), min_size=3, max_size=3)),
            "s": data.draw(st.lists(maybe(TEXT), min_size=3, max_size=3)),
            "d": data.draw(st.lists(maybe(st.dates()), min_size=3, max_size=3)),
            "t": data.draw(st.lists(maybe(MOMENTS), min_size=3, max_size=3)),
            "l": data.draw(
                st.lists(st.lists(integers(8), max_size=2), min_size=3, max_size=3)
            ),
        },
        schema={
            "n": pl.Int64,
            "f": pl.Float64,
            "s": pl.String,
            "d": pl.Date,
            "t": pl.Datetime("us"),
            "l": pl.List(pl.Int64),
        },
    )
    by_frame = sent(sender, group.starmap(sender.tasks["t"], frame))
    assert by_frame == sent(sender, group.starmap(sender.tasks["t"], frame.rows()))
    by_column = sent(sender, group.map(sender.tasks["t"], frame["s"]))
    assert by_column == sent(sender, group.map(sender.tasks["t"], frame["s"].to_list()))


def test_categories_of_polars_are_their_names(sender):
    column = pl.Series(["a", None, "b"], dtype=pl.Categorical)
    by_column = sent(sender, group.map(sender.tasks["t"], column))
    assert by_column == sent(sender, group.map(sender.tasks["t"], ["a", None, "b"]))


def test_frames_of_pandas_leave_their_index_out_and_missing_values_are_none(sender):
    frame = pd.DataFrame(
        {"n": [1, 2], "f": [0.5, math.nan], "s": ["a", None]}, index=["x", "y"]
    )
    by_frame = sent(sender, group.starmap(sender.tasks["t"], frame))
    rows = [(1, 0.5, "a"), (2, None, None)]
    assert by_frame == sent(sender, group.starmap(sender.tasks["t"], rows))
    by_column = sent(sender, group.map(sender.tasks["t"], frame["s"]))
    assert by_column == sent(sender, group.map(sender.tasks["t"], ["a", None]))


def test_arrays_of_numpy(sender):
    structured = np.array(
        [(1, 0.5, "a"), (2, math.inf, "ü")],
        dtype=[("n", "i4"), ("f", "f8"), ("s", "U3")],
    )
    by_rows = sent(sender, group.starmap(sender.tasks["t"], structured))
    rows = [(1, 0.5, "a"), (2, math.inf, "ü")]
    assert by_rows == sent(sender, group.starmap(sender.tasks["t"], rows))
    flat = np.arange(4, dtype="u1")
    by_column = sent(sender, group.map(sender.tasks["t"], flat))
    assert by_column == sent(sender, group.map(sender.tasks["t"], range(4)))
    by_matrix = sent(sender, group.starmap(sender.tasks["t"], flat.reshape(2, 2)))
    assert by_matrix == sent(sender, group.starmap(sender.tasks["t"], [(0, 1), (2, 3)]))


def test_arrays_and_batches_of_pyarrow(sender):
    array = pa.array([1, None, 3])
    by_array = sent(sender, group.map(sender.tasks["t"], array))
    assert by_array == sent(sender, group.map(sender.tasks["t"], [1, None, 3]))
    batch = pa.record_batch({"x": [1, 2], "y": ["a", "b"]})
    by_batch = sent(sender, group.starmap(sender.tasks["t"], batch))
    rows = [(1, "a"), (2, "b")]
    assert by_batch == sent(sender, group.starmap(sender.tasks["t"], rows))
    structs = batch.to_struct_array()
    assert by_batch == sent(sender, group.starmap(sender.tasks["t"], structs))
    by_dicts = sent(sender, group.map(sender.tasks["t"], structs))
    assert by_dicts == sent(sender, group.map(sender.tasks["t"], structs.to_pylist()))


def test_long_tables_are_read_some_rows_at_a_time(sender):
    table = pa.table({"x": range(10_000), "y": [str(x) for x in range(10_000)]})
    by_table = sent(sender, group.starmap(sender.tasks["t"], table))
    assert by_table == sent(sender, group.starmap(sender.tasks["t"], rows_of(table)))


def test_table_without_rows_is_an_empty_group(sender):
    table = pa.table({"x": pa.array([], pa.int8())})
    assert group.starmap(sender.tasks["t"], table).apply_async().size == 0
    assert sent(sender, group.starmap(sender.tasks["t"], table)) == []


# What is refused.


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (pa.duration("s"), r"'it'.*Duration.*cast it to integers"),
        (pa.month_day_nano_interval(), r"'it'.*Interval.*make numbers or strings"),
        (pa.timestamp("s", "Europe/Berlin"), r"'it'.*Berlin.*convert it to UTC"),
        (pa.list_(pa.duration("s")), r"'it'.*Duration.*cast it to integers"),
        (pa.struct([("x", pa.duration("s"))]), r"'it'.*Duration"),
        (pa.struct([("x", pa.int8()), ("x", pa.int8())]), r"'it'.*one name.*rename"),
        (pa.dictionary(pa.int8(), pa.duration("s")), r"'it'.*Duration"),
        (pa.uuid(), r"'it'.*arrow.uuid.*cast it to the type that it extends"),
        (pa.run_end_encoded(pa.int32(), pa.int8()), r"'it'.*decode its runs"),
    ],
    ids=str,
)
def test_types_without_a_place_in_a_message_are_refused_by_name(kind, said):
    table = pa.table({"x": [1]}).append_column("it", pa.nulls(1, kind))
    with pytest.raises(CanvasError, match=rf"group\.starmap: column {said}"):
        group.starmap("t", table)


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        ([5, 1001], pa.timestamp("ns"), "cast the column to microseconds"),
        ([0, 1], pa.time64("ns"), "cast the column to microseconds"),
        ([0, 4_000_000], pa.date32(), "years 1 to 9999"),
        ([0, -(10**11)], pa.timestamp("s"), "years 1 to 9999"),
    ],
    ids=str,
)
def test_values_that_python_has_not_are_refused_with_their_place(
    sender, values, kind, said
):
    values = [1000 if kind == pa.timestamp("ns") else 0, values[1]]
    table = pa.table(
        {
            "a": [1, 2],
            "when": pa.array(values, pa.int64())
            .cast(pa.int32() if kind == pa.date32() else pa.int64())
            .view(kind),
        }
    )
    with pytest.raises(CanvasError, match=rf"group\[1\]: column 'when': .*{said}"):
        group.starmap(sender.tasks["t"], table).apply_async()
    assert drain("memory://", "celerant-test-columns") == []


def test_row_that_is_null_is_refused(sender):
    rows = pa.array([{"x": 1}, None], pa.struct([("x", pa.int8())]))
    with pytest.raises(CanvasError, match="a row is null"):
        group.starmap(sender.tasks["t"], rows).apply_async()


def test_objects_of_polars_are_refused():
    polars = pytest.importorskip("polars")
    column = polars.Series("it", [{1}], dtype=polars.Object)
    for make in (
        lambda: group.map("t", column),
        lambda: group.starmap("t", polars.DataFrame({"a": [1], "it": column})),
    ):
        with pytest.raises(CanvasError, match="Polars' type Object"):
            make()


def test_columns_and_tables_in_each_others_place_are_refused():
    with pytest.raises(CanvasError, match=r"group\.map takes a column"):
        group.map("t", pa.table({"x": [1]}))
    with pytest.raises(CanvasError, match=r"group\.map takes a column"):
        group.map("t", pl.DataFrame({"x": [1]}))
    with pytest.raises(CanvasError, match=r"group\.starmap takes a table"):
        group.starmap("t", pa.chunked_array([[1]]))
    with pytest.raises(CanvasError, match="structured array"):
        group.starmap("t", np.arange(3))
    with pytest.raises(CanvasError, match="one dimension"):
        group.map("t", np.zeros((2, 2)))


def test_arrays_that_pyarrow_cannot_read_are_refused():
    with pytest.raises(CanvasError, match="pyarrow cannot read this of NumPy"):
        group.map("t", np.arange(3, dtype=">i4"))
    with pytest.raises(CanvasError, match="pyarrow cannot read this of pandas"):
        group.map("t", pd.Series([1, "a", object()]))


def test_pandas_without_pyarrow_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CanvasError, match="pip install pyarrow"):
        group.starmap("t", pd.DataFrame({"x": [1]}))
    with pytest.raises(CanvasError, match="pip install pyarrow"):
        group.map("t", np.arange(3))


def test_without_tables_no_package_for_them_is_imported():
    program = """
        import sys
        from celerant import Celerant, group
        with Celerant("c") as app:
            group.starmap("t", [(1,)]).apply_async()
            group.map("t", iter([1])).apply_async()
        assert not {"numpy", "pandas", "polars", "pyarrow"} & set(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


class Broken:
    """A table whose producer does not keep to the interface."""

    def __init__(self, answer):
        self.answer = answer

    def __len__(self):
        return 1

    def __arrow_c_stream__(self, requested_schema=None):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_broken_producers_are_told():
    with pytest.raises(CanvasError, match="must return a PyCapsule"):
        group.starmap("t", Broken(7))
    with pytest.raises(OSError, match="the disk"):
        group.starmap("t", Broken(OSError("the disk")))
    used = pa.table({"x": [1]}).__arrow_c_stream__()
    pa.RecordBatchReader._import_from_c_capsule(used)
    with pytest.raises(CanvasError, match="read before"):
        group.starmap("t", Broken(used))
    with pytest.raises(CanvasError, match="PyCapsule"):
        group.starmap("t", Broken(pa.int8().__arrow_c_schema__()))


def test_producer_that_fails_on_the_way_is_told(sender):
    def batches():
        yield pa.record_batch({"x": [1]})
        msg = "the disk is gone"
        raise OSError(msg)

    class Torn:
        def __len__(self):
            return 2

        def __arrow_c_stream__(self, requested_schema=None):
            schema = pa.schema([("x", pa.int64())])
            reader = pa.RecordBatchReader.from_batches(schema, batches())
            return reader.__arrow_c_stream__()

    with pytest.raises(CanvasError, match=r"its producer failed: .*the disk is gone"):
        group.starmap(sender.tasks["t"], Torn()).apply_async()


# Everything that groups can do.


@pytest.fixture
def shop():
    with Celerant("celerant-test-columns-shop") as app:

        @app.task(name="add")
        def add(x, y):
            return x + y

        @app.task(name="total")
        def total(values):
            return sum(values)

        yield app


TABLE = pa.table({"x": [1, 2, 3], "y": [10, 20, 30]})


def test_tables_are_read_as_often_as_they_are_sent(shop):
    members = group.starmap(shop.tasks["add"], TABLE)
    with shop.worker(concurrency=1):
        for _ in range(3):
            assert members.apply_async().get(timeout=WAIT) == [11, 22, 33]


def test_readers_are_read_once_like_generators(shop):
    members = group.starmap(shop.tasks["add"], TABLE.to_reader())
    with shop.worker(concurrency=1):
        assert members.apply_async().get(timeout=WAIT) == [11, 22, 33]
        with pytest.raises(CanvasError, match="has been sent"):
            members.apply_async()


def test_groups_over_tables_are_groups(shop):
    members = group.starmap(shop.tasks["add"], TABLE)
    with shop.worker(concurrency=1):
        assert (members | shop.tasks["total"].s()).delay().get(timeout=WAIT) == 66
        header = group.starmap(shop.tasks["add"], TABLE)
        assert chord(header)(shop.tasks["total"].s()).get(timeout=WAIT) == 66
        both = group(
            [group.starmap(shop.tasks["add"], TABLE), shop.tasks["add"].s(1, 1)]
        )
        assert both.apply_async().get(timeout=WAIT) == [11, 22, 33, 2]
        fed = group.starmap(shop.tasks["add"], TABLE).apply_async(window=1, canary=0.4)
        assert fed.get(timeout=WAIT) == [11, 22, 33]
        assert members.apply().get() == [11, 22, 33]
        first = group.map(shop.tasks["add"], TABLE["x"])
        more = first.apply_async(kwargs={"y": 5})
        assert more.get(timeout=WAIT) == [6, 7, 8]
        before = first.apply_async(args=(7,))
        assert before.get(timeout=WAIT) == [8, 9, 10]
    assert members.tasks[1].args == (2, 20)
    assert len(members) == 3


def test_rows_that_do_not_fit_the_task_are_refused(shop):
    table = TABLE.append_column("z", pa.array([0, 0, 0]))
    with pytest.raises(ArgumentError, match=r"group\[0\].*too many positional"):
        group.starmap(shop.tasks["add"], table).apply_async()


def test_other_serializers_get_pythons_values(shop):
    shop.conf.accept_content = ["json", "pickle"]
    moments = pa.table({"x": [MOMENT], "y": [b"\xff"]})

    @shop.task(name="both", serializer="pickle")
    def both(x, y):
        return repr((x, y))

    with shop.worker(concurrency=1):
        result = group.starmap(both, moments).apply_async()
        assert result.get(timeout=WAIT) == [repr((MOMENT, b"\xff"))]


def test_tasks_get_dates_times_and_decimals(shop):
    row = (date(2020, 1, 2), time(3, 4), Decimal("1.50"), b"b", [1, None], {"k": 1})
    table = pa.table({str(at): [value] for at, value in enumerate(row)})

    @shop.task(name="told")
    def told(*args):
        return repr(args)

    with shop.worker(concurrency=1):
        result = group.starmap(told, table).apply_async()
        assert result.get(timeout=WAIT) == [repr(row)]


def test_routes_may_look_at_rows(shop):
    shop.conf.task_routes = lambda _name, args, *_, **_task: {
        "queue": f"q{args[0] % 2}"
    }
    group.starmap(shop.tasks["add"], TABLE).apply_async(ignore_result=True)
    counts = [len(drain("memory://", f"q{number}")) for number in range(2)]
    assert counts == [1, 2]


def test_retry_takes_the_same_table_and_refuses_another(shop):
    seen = []

    @shop.task(name="once")
    def once(x):
        seen.append(x)
        if x == 2 and seen.count(2) == 1:
            raise ValueError(x)
        return x

    with shop.worker(concurrency=1):
        result = group.map(once, TABLE["x"]).apply_async(window=10)
        assert len(result.get(timeout=WAIT, propagate=False)) == 3
        assert result.counts()["FAILURE"] == 1
        other = group.map(once, pa.chunked_array([[1, 5, 3]]))
        with pytest.raises(CanvasError, match=r"\[1\]"):
            result.retry("failed", source=other)
        result.retry("failed", source=group.map(once, pa.chunked_array([[1, 2, 3]])))
        assert result.get(timeout=WAIT) == [1, 2, 3]
    assert seen == [1, 2, 3, 2]


def test_stopped_group_goes_on_with_the_table(shop):
    is_bad = True

    @shop.task(name="careful")
    def careful(x, y):
        if is_bad and x < 3:
            raise ValueError(x)
        return x + y

    table = pa.table({"x": range(1200), "y": range(1200)})
    members = group.starmap(careful, table)
    with shop.worker(concurrency=1):
        result = members.apply_async(window=300, canary=5, stop_if=1)
        assert len(result.get(timeout=WAIT, propagate=False)) == 5
        assert result.stopped_by == "canary"
        is_bad = False
        members.resume(result)
        result.get(timeout=WAIT, propagate=False)
        result.retry("failed")
        assert result.get(timeout=WAIT) == [2 * x for x in range(1200)]


def test_tables_of_several_tasks_in_one_group_keep_apart(shop):
    @shop.task(name="sub")
    def sub(x, y):
        return x - y

    members = group(
        [
            group.starmap(shop.tasks["add"], TABLE),
            group.starmap(sub, TABLE),
            group.starmap(sub, TABLE).set(queue="celerant-test-columns-shop"),
            group.starmap(shop.tasks["add"], [(0, 0)]),
            group.starmap(shop.tasks["add"], TABLE),
        ]
    )
    sums, differences = [11, 22, 33], [-9, -18, -27]
    with shop.worker(concurrency=1):
        got = members.apply_async().get(timeout=WAIT)
    assert got == [*sums, *differences, *differences, 0, *sums]


def test_tables_are_equal_if_what_is_in_them_is():
    def made(values):
        return columns.columnar(pa.chunked_array([values]), star=False)

    assert made([1, 2]) == made([1, 2])
    assert made([1, 2]) != made([1, 3])
    assert made([1]) != [1]
    assert repr(made([1])) == "<Table: rows of a ChunkedArray>"
    assert isinstance(made([1]), Table)
    assert list(made([1, None])) == [1, None]


def test_a_lazy_frame_is_refused_with_what_makes_rows_of_it():
    lazy = pl.LazyFrame({"x": [1]})
    with pytest.raises(CanvasError, match=r"not LazyFrame; collect\(\) it first"):
        group.starmap("t", lazy)
