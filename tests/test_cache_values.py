"""Values as bytes: what comes back is equal to, and of the type of, what was kept."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import hmac
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codoperf_otel._cache.codec import Codecs
from codoperf_otel._cache.records import InvalidRecordError, Record, Signer
from codoperf_otel.cache_manager import CacheManager

codecs = Codecs()

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
any_value = st.recursive(
    plain | st.binary() | st.complex_numbers(allow_nan=False) | st.floats(allow_nan=False) | st.datetimes(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.integers() | st.text(), inner, max_size=4)
    ),
)


@given(plain)
def test_plain_data_is_text_or_json(value):
    """Plain data comes back as it was, down to the types, and other programs can read it."""
    encoded = codecs.encode(value)
    assert encoded.codec == ("text" if isinstance(value, str) else "json")
    assert repr(codecs.decode(*encoded)) == repr(value)


@given(any_value)
def test_any_value_comes_back(value):
    """Whatever can be written comes back as it was, down to the types."""
    assert repr(codecs.decode(*codecs.encode(value))) == repr(value)


class Colour(enum.Enum):
    """An enumeration of module level."""

    RED = 1


@dataclasses.dataclass
class Answer:
    """A dataclass of module level."""

    text: str
    tokens: tuple[int, ...]


Pair = collections.namedtuple("Pair", "a b")


class Text(str):
    """A subclass of a plain type."""

    __slots__ = ()


@pytest.mark.parametrize(
    "value",
    [
        (1, [2]),
        {1: 2},
        {1},
        frozenset({"a"}),
        b"\0\xff",
        bytearray(b"x"),
        float("inf"),
        1j,
        "\ud83d\ude00",
        collections.OrderedDict(a=1),
        Pair(1, 2),
        [Colour.RED],
        Answer("yes", (1, 2)),
        Text("x"),
        [True, 1, 1.0],
        decimal.Decimal("1.10"),
        dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
        range(3),
    ],
)
def test_types_are_kept(value):
    """What JSON would change is pickled."""
    found = codecs.decode(*codecs.encode(value))
    assert found == value
    assert type(found) is type(value)
    assert repr(found) == repr(value)


def test_huge_integers_come_back():
    """An integer of more digits than Python turns into text is pickled."""
    assert codecs.decode(*codecs.encode([10**5000])) == [10**5000]


def test_cycles_come_back():
    """A list that holds itself does so again."""
    value = [1]
    value.append(value)
    found = codecs.decode(*codecs.encode(value))
    assert found[1] is found


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(12, dtype=">i4").reshape(3, 4)),
        np.arange(24)[::2],
        np.array(5),
        np.zeros((0, 3), "f2"),
        np.array(["2026-01-02"], "M8[ns]"),
        np.array(["ä", ""]),
        np.array([True, False]),
    ],
)
def test_arrays_are_written_as_they_are(array):
    """Values, dtype, shape and order of a numpy array come back, and it can be written to."""
    encoded = codecs.encode(array)
    found = codecs.decode(*encoded)
    assert encoded.codec == "numpy"
    assert type(found) is np.ndarray
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.flags.writeable
    assert found.flags.f_contiguous == array.copy("K").flags.f_contiguous
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "array",
    [
        np.array([object, None]),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
        np.ma.array([1, 2], mask=[0, 1]),
        np.float32(1.5),
    ],
)
def test_other_arrays_are_pickled(array):
    """Arrays of objects or records, subclasses and numpy's scalars come back by pickle."""
    encoded = codecs.encode(array)
    found = codecs.decode(*encoded)
    assert encoded.codec == "pickle"
    assert type(found) is type(array)
    assert repr(found) == repr(array)


@pytest.mark.parametrize("value", [lambda: 1, open, (x for x in ())])
def test_unwritable_values_raise(value):
    """What no codec takes raises, unless pickle finds it again by its name."""
    if value is open:
        assert codecs.decode(*codecs.encode(value)) is open
    else:
        with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
            codecs.encode(value)


class Asked(type):
    """A metaclass that answers whatever it is asked for, or raises."""

    def __getattr__(cls, name):
        """Only what one name asks for is there."""
        if name == "__next__":
            return "an answer"
        raise RuntimeError(name)


class Odd(metaclass=Asked):
    """A class of which `hasattr` says little."""


def test_a_metaclass_does_not_decide_what_a_value_is():
    """A value is no iterator for what its metaclass answers, and nothing that this raises comes out."""
    value = Odd()
    manager = CacheManager(disk=False)
    manager.set("k", value)
    assert manager.get("k") is value


@pytest.mark.parametrize("codec", ["bytes of nobody", "text", "json", "numpy", "pickle"])
def test_unreadable_bytes_are_one_error(codec):
    """Bytes that are no value raise a ValueError, whatever the codec raised."""
    with pytest.raises(ValueError, match=r"bytes of nobody|not "):
        codecs.decode(codec, b"\x80nonsense")


@pytest.mark.parametrize("length", [0, 32, 64, 65, 200])
def test_signature_is_the_standard_one(length):
    """HMAC-SHA256 of address and content, with a key of any length."""
    address = bytes(range(32))
    key, record = bytes(range(length)), Record(1.0, 2.0, 3.0, None, bytes(16), "bytes", b"value")
    packed = Signer(key).pack(address, record)
    assert packed[:32] == hmac.digest(key, packed[32:], "sha256")
    assert packed[32:64] == address
    assert Signer(key).unpack(address, packed) == record
    with pytest.raises(InvalidRecordError):
        Signer(key).unpack(bytes(32), packed)


class Upper:
    """A serializer of a program's own."""

    def dumps(self, value):
        """Text alone."""
        return value.upper().encode()

    def loads(self, data):
        """The text again."""
        return data.decode()


def test_own_serializer_takes_all_values():
    """A serializer that is given is the only one, and entries that others wrote are not its own."""
    own = Codecs(Upper())
    assert own.decode(*own.encode("a")) == "A"
    with pytest.raises(AttributeError):
        own.encode(1)
    with pytest.raises(ValueError, match="text"):
        own.decode(*codecs.encode("a"))
