"""What a class can do, as the interpreter finds it: in the class and its bases, and no metaclass is asked."""

from __future__ import annotations

_bases = type.__dict__["__mro__"].__get__
_namespace = type.__dict__["__dict__"].__get__


def has_method(kind: type, name: str) -> bool:
    """Whether a class has a method. The metaclass of a program's own may make up methods, or fail.

    >>> has_method(str, "upper")
    True
    """
    if type(kind) is type:
        return hasattr(kind, name)
    return any(name in _namespace(base) for base in _bases(kind))
