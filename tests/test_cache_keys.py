"""Keys by value and type, and addresses that mean the same in every process."""

from __future__ import annotations

import datetime as dt
import functools
import gc
import os
import re
import subprocess
import sys
from collections import OrderedDict, namedtuple
from dataclasses import InitVar, dataclass, field
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import PurePosixPath
from typing import ClassVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codoperf_otel._cache import addresses, digests
from codoperf_otel._cache.encoding import MOST_LEVELS, UnkeyableError, encode
from codoperf_otel._cache.keys import Keys, identity


class Color(Enum):
    """A member for the tests."""

    RED = 1


class Level(IntEnum):
    """An enumeration whose members are integers."""

    LOW = 1


@dataclass(frozen=True)
class Point:
    """A value with fields."""

    x: object
    y: object = 0


@dataclass(slots=True)
class Slotted:
    """A class without hash and without weak references."""

    x: int = 0


Pair = namedtuple("Pair", "left right")


class Amount(Decimal):
    """A number with a unit."""

    unit = None

    def of(self, unit):
        """The same number in that unit."""
        self.unit = unit
        return self


class Share(float):
    """A float of a class of its own."""


class Near(float):
    """A float that has an equality of its own."""

    def __eq__(self, other):
        return abs(self - other) < 1

    __hash__ = float.__hash__


class Moment(dt.datetime):
    """A time that knows more than its base."""

    __slots__ = ("nanosecond",)


def moment(nanosecond=None, **parts):
    """A `Moment` on the day that clocks are set back."""
    made = Moment(2024, 10, 27, 2, **parts)
    if nanosecond is not None:
        made.nanosecond = nanosecond
    return made


class Row(tuple):
    """A tuple of a class of its own."""

    __slots__ = ()


class Number(int):
    """An int of a class of its own."""


@dataclass
class Query:
    """A dataclass of which a part is only seen at its beginning."""

    text: str
    limit: InitVar[int]
    log: ClassVar[object] = object()
    absent: int = field(init=False)

    def __post_init__(self, limit):
        self.top = min(limit, 9)

    @functools.cached_property
    def words(self):
        """What is kept to save time, and has no key."""
        return iter(self.text.split())


class Special(Point):
    """A subclass that is no dataclass itself."""

    def __init__(self, x, more):
        super().__init__(x)
        object.__setattr__(self, "more", more)


class Keyed:
    """A class that has a key."""

    def __init__(self, key):
        self.key = key

    def __cache_key__(self):
        return self.key


class Client(Keyed):
    """An object with a method."""

    def fetch(self, what):
        """A method."""


class Equal:
    """All instances are equal."""

    def __eq__(self, other):
        return isinstance(other, Equal)

    def __hash__(self):
        return 1


def function(*args, **kwargs):
    """A function whose calls get keys."""


key = Keys(function).make

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.frozensets(scalars, max_size=3)
    ),
    max_leaves=8,
)


def spelled(value):
    """A text of value and type in which the order of a set does not count."""
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(spelled, value))
    if isinstance(value, frozenset):
        return type(value), frozenset(map(spelled, value))
    if isinstance(value, dict):
        return type(value), tuple((spelled(k), spelled(v)) for k, v in value.items())
    return type(value), repr(value)


@given(values, values)
def test_keys_are_equal_where_value_and_type_are(left, right):
    """Two keys, and two addresses, are equal exactly where the values and all their types are."""
    same = spelled(left) == spelled(right)
    assert (encode(left) == encode(right)) is same
    assert (digests.digest(encode(left)) == digests.digest(encode(right))) is same


calls = st.tuples(st.lists(values, max_size=3), st.dictionaries(st.sampled_from("abc"), values, max_size=2))


@given(calls, calls)
def test_calls_have_one_key_each(left, right):
    """Positional and keyword arguments are never taken for each other."""
    same = all(spelled(a) == spelled(b) for a, b in zip(left, right, strict=True))
    assert (key(tuple(left[0]), left[1]) == key(tuple(right[0]), right[1])) is same


@given(st.dictionaries(st.text(max_size=3), scalars, min_size=2))
def test_keyword_order_does_not_matter(kwargs):
    """The same keywords in another order are the same call."""
    assert key((1,), kwargs) == key((1,), dict(reversed(kwargs.items())))


DISTINCT = [
    1, 1.0, True, "1", b"1", None, 1 + 0j, 0, 0.0, -0.0, False, "", (), [], {}, set(), frozenset(), (1,), [1],
    ((1,),), {1}, {1: 1}, {"1": 1}, (1, 1.0), Decimal(1), Decimal("1.0"), Fraction(1), Color.RED, Level.LOW,
    Point(1), Point(1.0), Point(True), Pair(1, 2), (1, 2), Pair(1, 2.0), int, bool, ..., range(3), slice(3),
    bytearray(b"1"), Keyed(1), Keyed("1"), PurePosixPath("1"), UUID(int=1), float("nan"), float("inf"),
    dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None),
    dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    dt.datetime(2024, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), dt.timedelta(1), (None,), (int, 1),
    {"a": 1, "b": 2}, {"b": 2, "a": 1}, Share(0), Share(-0.0), Near(0), Near(-0.0), Amount(1), Amount("1.0"),
    Amount(1).of("s"), Amount(1).of("m"), Row((1,)), Row((True,)), Number(1), moment(), moment(fold=1),
    moment(nanosecond=1), moment(nanosecond=2), Query("a", 1), Query("a", 3), Special(1, 1), Special(1, 2),
    re.compile("a"), re.compile("a", re.IGNORECASE), dt.time(2), dt.time(2, fold=1),
]  # fmt: skip


def test_types_are_told_apart():
    """Values that are equal, or look alike, but are of different types have different keys."""
    keys = [key((value,), {}) for value in DISTINCT]
    assert len(set(keys)) == len(keys)
    assert keys == [key((value,), {}) for value in DISTINCT]


def test_what_is_kept_to_save_time_does_not_count():
    """An object has the same key before and after its cached properties were read."""
    query = Query("a b", 1)
    before = encode(query)
    assert next(query.words) == "a"
    assert encode(query) == before


@pytest.mark.parametrize(
    "value", [Share(-0.0), Amount("1.0").of("s"), Query("a", 1), moment(), Row((1, 2.0))]
)
def test_subclasses_have_addresses(value):
    """What is keyed by parts means the same in every process."""
    assert digests.digest(encode(value))


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, Point, Keyed])
def test_nesting_has_one_error_at_every_depth(wrap):
    """Up to the bound there is a key and an address; from there on, a TypeError that says so."""
    value = 1
    for _ in range(MOST_LEVELS):
        value = wrap(value)
    assert digests.digest(key((value,), {}))
    for depth in range(1, 3000):
        value = wrap(value)
        if depth < 5 or depth % 500 == 0:
            with pytest.raises(TypeError, match=r"argument '#1': .*nested deeper than 100 levels"):
                key((value,), {})


def test_equal_values_of_own_equality_share_a_key():
    """A class with equality and hash of its own is keyed by them, and has no address."""
    assert encode(Equal()) == encode(Equal())
    with pytest.raises(digests.NotPortableError):
        digests.digest(encode(Equal()))


@pytest.mark.parametrize(
    "value", [object(), lambda: 0, OrderedDict(), [object()], {"a": {1: function}}, memoryview(bytearray())]
)
def test_argument_without_a_key_is_named(value):
    """The error names the function, the argument and what can be done."""

    def target(self_made, second=None):
        """What is called."""

    make = Keys(target).make
    for args, kwargs in (((1, value), {}), ((1,), {"second": value})):
        with pytest.raises(TypeError, match=r"target\(\) .* argument 'second': .*__cache_key__"):
            make(args, kwargs)
    with pytest.raises(TypeError, match="argument '#3'"):
        make((1, 2, value), {})


def test_value_that_holds_itself_has_no_key():
    """A cycle is an argument like any other that cannot be keyed."""
    value = []
    value.append(value)
    with pytest.raises(TypeError, match="argument '#1'"):
        key((value,), {})


class TestIdentity:
    """`self` counts by identity."""

    @pytest.mark.parametrize("kind", [type("Plain", (), {}), Equal, Slotted, type("L", (list,), {})])
    def test_objects_are_told_apart(self, kind):
        """Whatever the class says of equality, two objects have two keys and one has one."""
        left, right = kind(), kind()
        assert identity(left) == identity(left)
        assert hash(identity(left)) == hash(identity(left))
        assert identity(left) != identity(right)

    @pytest.mark.parametrize("kind", [type("Plain", (), {}), Equal])
    def test_dead_object_equals_none(self, kind):
        """The key keeps no object alive, and no later object at the same address has that key."""
        value = kind()
        dead = identity(value)
        hash(dead)
        del value
        gc.collect()
        assert dead() is None
        assert all(identity(other) != dead for other in [kind() for _ in range(100)])
        assert dead == dead

    def test_own_key_counts_instead(self):
        """Objects with equal `__cache_key__()` share a key that has an address."""
        assert identity(Keyed(1)) == identity(Keyed(1)) != identity(Keyed(2))
        assert digests.digest(identity(Keyed(1)))

    def test_identity_has_no_address(self):
        """What an object's identity is part of stays in memory."""
        for value in (Equal(), Slotted(), type("Plain", (), {})()):
            with pytest.raises(digests.NotPortableError):
                digests.digest((1, identity(value)))

    def test_only_self_counts_by_identity(self):
        """The first argument named `self`, given by place or by name; no other."""

        def method(self, other=None):
            """A method."""

        make = Keys(method).make
        one = Equal()
        assert make((one, 1), {}) == make((one, 1), {}) != make((Equal(), 1), {})
        assert make((), {"self": one, "other": 1}) == make((one,), {"other": 1})
        with pytest.raises(TypeError, match="'other'"):
            make((one, object()), {})
        with pytest.raises(UnkeyableError):
            encode(object())

    def test_a_bound_method_has_no_self_left(self):
        """Its first argument is one like any other, and its owner is part of what it brings along."""

        make = Keys(Client(0).fetch).make
        assert make(("a b",), {}) == "a b"
        with pytest.raises(TypeError, match="'what'"):
            make((object(),), {})
        one, two = (digests.digest(addresses.state(Client(key).fetch)) for key in (1, 2))
        assert one != two

    def test_a_decorated_method_has_self(self):
        """A wrapper that takes anything is asked for what it wraps."""

        def method(self, other):
            """A method."""

        @functools.wraps(method)
        def wrapper(*args, **kwargs):
            """What a decorator returns."""

        assert Keys(wrapper).is_method


def test_members_of_enumerations():
    """By name and value, which an edit may change; by name alone where the value has no key."""

    def members(first):
        return Enum("Kind", {"FIRST": first, "OTHER": object()}, module="kinds")

    one, two = members([1]), members([2])
    digest = lambda member: digests.digest(encode(member))  # noqa: E731
    assert digest(one.FIRST) == digest(members([1]).FIRST)
    assert digest(one.FIRST) != digest(two.FIRST)
    assert digest(one.OTHER) == digest(two.OTHER)


PROGRAM = """
import enum
from codoperf_otel._cache import addresses, digests, encoding
def f(x):
    if x in {"a", "b", "c", "d"}:
        return [lambda y: (y, 1.5, {"e", "f"}) for _ in range(3)]
arguments = encoding.encode([{"a", "b", 1}, {"k": 1.0, "l": None}])
print(addresses.explain(addresses.Function(f, 'f')).scope, digests.digest(arguments))
"""


def test_addresses_are_the_same_in_every_process(tmp_path):
    """Neither hash seeds nor addresses of objects are in them."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    printed = {
        subprocess.run(
            [sys.executable, path],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "0123"
    }
    assert len(printed) == 1
    assert "None" not in printed.pop()


def make(source):
    """The function `f` of a source text, as a module named `module` would hold it."""
    namespace = {"__name__": "module"}
    exec(source, namespace)
    return namespace["f"]


def scope(func, names=None, version=None):
    """What the entries of a function are filed under."""
    return addresses.explain(addresses.Function(func, "f", names, version)).scope


def test_origin_follows_the_code():
    """Another constant, name or inner function is another function; another line is not."""
    sources = [
        "def f(x): return x + 1",
        "def f(x): return x + 2",
        "def f(x): return x + 1.0",
        "def f(x): return x - 1",
        "def f(x): return x.a",
        "def f(x): return x.b",
        "def f(x): return [y + 1 for y in x]",
        "def f(x): return [y + 2 for y in x]",
        "def f(x): return x in {1, 2}",
        "def f(x): return x in {1, 3}",
    ]
    origins = [scope(make(source)) for source in sources]
    assert len(set(origins)) == len(sources)
    assert None not in origins
    assert origins == [scope(make("\n\n" + source)) for source in sources]


def test_version_counts_instead_of_code():
    """With a version two codes share an origin; another version, prefix or name does not."""
    left, right = make("def f(x): return 1"), make("def f(x): return 2")
    assert scope(left, None, "1") == scope(right, None, "1")
    others = {scope(left, prefix, version) for prefix in (None, "p") for version in (None, "1", "2")}
    assert len(others) == 6


def test_state_holds_defaults_and_closure():
    """Functions of one code that carry other values have other states; what has no key has no state."""

    def factory(carried):
        def inner(x, y=carried):
            return carried

        return inner

    assert addresses.state(factory(1)) == addresses.state(factory(1)) != addresses.state(factory(1.0))
    with pytest.raises(digests.NotPortableError):
        addresses.state(factory(object()))


def test_program_without_a_file_has_no_origin():
    """What a notebook or `python -c` defines stays in memory."""
    program = (
        "from codoperf_otel._cache.addresses import Function, explain\n"
        "def f(): pass\nprint(explain(Function(f, 'f')).scope)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
