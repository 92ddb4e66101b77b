"""Wrappers as other libraries put them on methods."""

from __future__ import annotations


class WrapperOfAnother:
    """As `wrapt` makes them: it pretends to be a function, and learns the instance only when it is bound."""

    __class__ = property(lambda self: type(self.wrapped))

    def __init__(self, wrapped, instance=None):
        self.wrapped = wrapped
        self.instance = instance

    def __getattr__(self, name):
        return getattr(self.wrapped, name)

    def __get__(self, instance, owner):
        return WrapperOfAnother(self.wrapped, instance)

    def __call__(self, *args, **kwargs):
        self.instance.seen = True
        return self.wrapped(self.instance, *args, **kwargs)
