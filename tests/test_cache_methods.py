"""Cached methods: what they offer knows their object, and for all others they are methods."""

from __future__ import annotations

import abc
import asyncio
import copy
import inspect
import pickle
import typing
import weakref
from types import FunctionType
from unittest import mock

import pytest

from codoperf_otel.agents import agent, tool
from codoperf_otel.cache_manager import CacheManager, cached_function
from codoperf_otel.performance_monitor import monitor_performance

manager = CacheManager(name="methods", disk=False)


class Shop:
    """With methods that count their calls."""

    calls = 0

    @cached_function(cache_manager=manager)
    def price(self, of: str) -> list[str | int]:
        """What it costs."""
        self.calls += 1
        return [of, self.calls]

    @cached_function(cache_manager=manager)
    async def ask(self, of):
        """The same, asked for."""
        self.calls += 1
        return [of, self.calls]

    @property
    @cached_function(cache_manager=manager)
    def total(self):
        """Computed once."""
        return [self]


class Branch(Shop):
    """Calls the method of its base."""

    def price(self, of):
        """That of the base."""
        return super().price(of)


def test_refresh_and_bypass():
    """They are those of the object, by a bound method and by the class."""
    shop, other = Shop(), Shop()
    kept = shop.price("tea")
    assert other.price("tea") is not kept
    assert shop.price.cache_bypass("tea") == ["tea", 2]
    assert shop.price("tea") is kept
    fresh = shop.price.cache_refresh("tea")
    assert shop.price("tea") is fresh == ["tea", 3]
    assert Shop.price.cache_refresh(shop, "tea") is shop.price("tea")
    assert other.price("tea") == ["tea", 1]


def test_coroutine_methods():
    """They stay coroutine functions."""

    async def main():
        shop = Shop()
        kept = await shop.ask("tea")
        assert await shop.ask.cache_bypass("tea") == ["tea", 2]
        assert await shop.ask("tea") is kept
        assert await shop.ask.cache_refresh("tea") is await shop.ask("tea")

    asyncio.run(main())
    assert inspect.iscoroutinefunction(Shop().ask)
    assert inspect.iscoroutinefunction(vars(Shop)["ask"])
    assert not inspect.iscoroutinefunction(Shop().price)


def test_it_stays_one_whatever_is_looked_at():
    """Also where somebody has asked what stands in the class for its dict."""

    class Kiosk:
        @cached_function(cache_manager=manager)
        def price(self):
            return 1

    object.__getattribute__(vars(Kiosk)["price"], "__dict__")
    assert type(Kiosk().price.__func__) is FunctionType
    assert Kiosk().price.__func__ is Kiosk.price


def test_it_is_a_method():
    """Whoever looks sees Python's own bound method, and in the class a function."""
    shop = Shop()
    assert inspect.ismethod(shop.price)
    assert type(Shop.price) is FunctionType
    assert isinstance(vars(Shop)["price"], FunctionType)
    assert (shop.price.__self__, shop.price.__func__) == (shop, Shop.price)
    assert (shop.price.__name__, shop.price.__module__) == ("price", __name__)
    assert shop.price.__doc__ == "What it costs."
    assert list(inspect.signature(shop.price).parameters) == ["of"]
    assert typing.get_type_hints(shop.price)["of"] is str
    assert shop.price == shop.price != Shop().price
    assert len({shop.price, shop.price}) == 1
    assert repr(shop.price).startswith("<bound method Shop.price of ")
    assert repr(vars(Shop)["price"]).startswith("<function Shop.price at ")


def test_what_others_do_with_methods():
    """Weak references, pickles, copies, properties, `super`, and tests that replace them."""
    shop = Shop()
    kept = shop.price("tea")
    assert weakref.WeakMethod(shop.price)()("tea") is kept
    assert copy.copy(shop.price)("tea") is kept
    assert pickle.loads(pickle.dumps(shop.price))("tea") == ["tea", 2]
    assert shop.total is shop.total
    assert Branch().price("tea") == ["tea", 1]
    with mock.patch.object(Shop, "price", autospec=True), mock.patch.object(shop, "ask"):
        assert shop.price("tea") is not kept
    assert shop.price("tea") is kept
    assert cached_function(cache_manager=manager)(shop.price)("tea") is kept


def test_it_keeps_no_object_alive():
    """A method that was called leaves nothing behind that holds its object."""
    shop = Shop()
    shop.price("tea")
    dead = weakref.ref(shop)
    del shop
    assert dead() is None


def test_abstract_methods():
    """What a decorator above sets on the function is set."""

    class Abstract(abc.ABC):
        @abc.abstractmethod
        @cached_function(cache_manager=manager)
        def price(self):
            """What it costs."""

    with pytest.raises(TypeError, match="abstract"):
        Abstract()


class Ask:
    """Its instances are called like coroutine functions."""

    async def __call__(self, x):
        """What was asked."""
        return [x]


@pytest.mark.parametrize("other", [monitor_performance, agent, tool, monitor_performance("n"), tool("t")])
@pytest.mark.parametrize("is_outer", [False, True])
@pytest.mark.parametrize("kind", ["function", "coroutine function", "object", "method"])
def test_with_another_decorator(other, is_outer, kind):
    """In either order the function is run once, and refreshed where it is asked for."""

    def function(x):
        return [x]

    async def coroutine(x):
        return [x]

    def method(self, x):
        return [x]

    func = {"function": function, "coroutine function": coroutine, "object": Ask(), "method": method}[kind]
    cached = cached_function(cache_manager=manager)
    outer, inner = (other, cached) if is_outer else (cached, other)
    decorated = outer(inner(func))
    first = (Ask(),) if kind == "method" else ()

    def call(function):
        found = function(*first, 1)
        return asyncio.run(found) if inspect.isawaitable(found) else found

    assert call(decorated) is call(decorated)
    fresh = call(decorated.cache_refresh)
    assert call(decorated) is fresh == [1]
    assert call(decorated.cache_bypass) is not fresh
    assert inspect.iscoroutinefunction(decorated) == (kind in ("coroutine function", "object"))
