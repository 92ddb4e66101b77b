"""The tiers that a program can choose for a `CacheManager`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from codoperf_otel import _forks
from codoperf_otel._cache.codec import Codecs
from codoperf_otel._cache.disk import Disk, Limits
from codoperf_otel._environment_variables import is_loopback, positive, setting_error
from codoperf_otel._once import LateAttribute
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.interrupts import raise_interrupt

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from codoperf_otel._cache.codec import Serializer
    from codoperf_otel._cache.tiers import EvictedFrom, Tier

GIGABYTE = 1 << 30
QUARTER = 90 * 86_400.0
_SCHEMES = ("redis", "rediss", "unix")
_CREDENTIAL = re.compile("user|pass|pwd|auth|credential|cookie|key|token|secret", re.IGNORECASE)


class ChosenTier(Protocol):
    """A tier behind memory, before it is made."""

    def make(self, on_evict: EvictedFrom) -> Tier:
        """The tier itself, when it is first asked."""
        ...


class MemoryTier:
    """Values in this process: at most `max_items`, of which the least recently used is evicted first.

    With `max_bytes`, the values take no more than that many bytes together, and one that is larger stays out.
    A value is weighed when it is kept, with all that its containers and attributes hold. What it grows by
    afterwards is not noticed. Keys are not counted.

    >>> MemoryTier(max_items=100, max_bytes=50_000_000).max_items
    100

    Raises:
        ValueError: `max_items` is no integer above 0, or `max_bytes` no number above 0.
    """

    def __init__(self, max_items: int = 1000, *, max_bytes: int | None = None) -> None:
        if type(max_items) is not int or max_items < 1:
            raise setting_error("max_items", max_items, "an integer above 0")
        if isinstance(max_bytes, bool):
            raise setting_error("max_bytes", max_bytes, "a number above 0")
        self.max_items = max_items
        self.max_bytes = None if max_bytes is None else int(positive("max_bytes", max_bytes))


class DiskTier:
    """Values in one SQLite file of a folder, which every process of this user may share.

    `folder` is the user's cache folder where None. The file holds at most `max_bytes`, of which those that
    expire next are evicted first, and no entry for longer than `max_age` seconds. SQLite's log beside it is
    not counted. `serializer` writes and reads the values in place of the built-in ways.

    >>> DiskTier("/tmp/answers", max_bytes=10_000_000).max_bytes
    10000000

    Raises:
        TypeError: `folder` is no path.
        ValueError: `max_bytes` or `max_age` is no number above 0, or `serializer` does not have both methods.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        max_bytes: int = GIGABYTE,
        max_age: float = QUARTER,
        serializer: Serializer | None = None,
    ) -> None:
        self._given_folder = None if folder is None else Path(folder)
        self.max_bytes = int(positive("max_bytes", max_bytes))
        self.max_age = positive("max_age", max_age)
        self._serializer = _checked_serializer(serializer)

    @LateAttribute
    def folder(self) -> Path:
        """Where the file is."""
        return default_folder() if self._given_folder is None else self._given_folder

    def make(self, on_evict: EvictedFrom) -> Tier:
        """The tier itself, when it is first asked."""
        limits = Limits(self.max_bytes, self.max_age)
        return Disk(lambda: self.folder, partial(on_evict, names.DISK), limits, self._serializer)


class RedisTier:
    """Values on a server that speaks Redis' protocol, such as Valkey, shared by every process that uses it.

    `url` is ``redis://``, ``rediss://`` or ``unix://``, with user and password where the server asks for
    them; no log and no span shows these. A server that does not answer within `timeout` seconds is left out
    for a while. Keys begin with `prefix`.

    Values that plain data, bytes and numpy arrays can hold are written as with `DiskTier`. Others are
    pickled, where `secret` is given, the same text in every process: it signs all entries, and nothing that
    is not signed with it is read. Without one such values stay in this process.

    >>> RedisTier("redis://localhost:6379/0", secret="from the vault").timeout
    0.1

    Raises:
        ModuleNotFoundError: redis-py is not installed (``pip install 'codoperf-otel[redis]'``).
        ValueError: `url` is none, or carries a password to another machine without TLS; `timeout` is no
            number above 0; `secret` is blank or no text.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 0.1,
        prefix: str = "codoperf",
        secret: str | None = None,
        serializer: Serializer | None = None,
    ) -> None:
        if not find_spec("redis"):
            raise ModuleNotFoundError("RedisTier needs redis-py: pip install 'codoperf-otel[redis]'")
        _check_url(url)
        _check_secret(secret)
        _module()  # now, and not at the first use: an event loop would wait for it
        self._url = url
        self.timeout = positive("timeout", timeout)
        self.prefix = prefix
        self._secret = secret
        self._serializer = _checked_serializer(serializer)

    def make(self, on_evict: EvictedFrom) -> Tier:
        """The tier itself, when it is first asked."""
        module = _module()
        server = module.Server(self._url, self.timeout, self.prefix)
        codecs = Codecs(self._serializer, pickles=self._secret is not None)
        secret = (self._secret or "").encode("utf-8", "surrogatepass")
        made: Tier = module.Redis(server, partial(on_evict, names.REDIS), codecs, secret)
        return made


def split(tiers: Any) -> tuple[int, int | None, list[ChosenTier]]:
    """The most entries and bytes of the memory tier in front, 0 if there is none, and the tiers behind it.

    Raises:
        ValueError: they are no tiers, or a memory tier is not in front.
    """
    given = list(tiers) if isinstance(tiers, Sequence) else []
    behind = [tier for tier in given if not isinstance(tier, MemoryTier)]
    front = [tier for tier in given[:1] if isinstance(tier, MemoryTier)]
    if not given or len(front) + len(behind) < len(given) or not all(map(_is_tier, behind)):
        allowed = "a list of DiskTier(…) and the like, of which only the first may be a MemoryTier(…)"
        raise setting_error("tiers", tiers, allowed)
    return sum(tier.max_items for tier in front), front[0].max_bytes if front else None, behind


def _is_tier(tier: object) -> bool:
    return not isinstance(tier, type) and callable(getattr(tier, "make", None))


def _checked_serializer(serializer: Serializer | None) -> Serializer | None:
    if serializer is None or all(callable(getattr(serializer, name, None)) for name in ("dumps", "loads")):
        return serializer
    raise setting_error("serializer", serializer, "an object with dumps(value) and loads(data), or None")


def _module() -> Any:
    """What the tier is made of. No child is forked meanwhile: it would wait for a module half imported."""
    with _forks.importing.lock:
        from codoperf_otel._cache import redis
    return redis


def _check_url(url: object) -> None:
    from urllib.parse import unquote, urlsplit

    allowed = "a redis://, rediss:// or unix:// URL"
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        parts.port  # noqa: B018  it is checked when it is read
    except ValueError as error:
        raise_interrupt(error)
        raise setting_error("url", url, allowed) from None
    if str(url).partition("://")[0] not in _SCHEMES or not (parts.hostname or parts.scheme == "unix"):
        raise setting_error("url", url, allowed)
    is_plain_text = parts.scheme == "redis" and not is_loopback(unquote(parts.hostname or ""))
    if is_plain_text and _has_credentials(parts):
        raise setting_error("url", url, "rediss:// or a loopback address, because a password goes along")


def _has_credentials(parts: SplitResult) -> bool:
    """Whether a URL has any: before an @ that may stand in a wrong place, or in the query, for redis-py."""
    from urllib.parse import parse_qsl

    return "@" in parts.geturl() or any(_CREDENTIAL.search(name) for name, _ in parse_qsl(parts.query))


def _check_secret(secret: object) -> None:
    """Refuse what would sign nothing, such as the text of a variable that is not set."""
    if secret is not None and not (isinstance(secret, str) and secret.strip()):
        shown = "" if secret in ("", b"") else "***"
        raise setting_error("secret", shown, "a text that is not blank, or None")


def default_folder() -> Path:
    """The folder of this user in which values are kept unless another is given."""
    configured = os.environ.get("XDG_CACHE_HOME", "")
    if Path(configured).is_absolute():  # the specification ignores a relative one
        base = configured
    elif sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    else:
        base = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    try:
        return Path(base).expanduser() / "codoperf-otel"
    except RuntimeError as error:  # a user without a home
        raise_interrupt(error)
        import tempfile

        return Path(tempfile.gettempdir()) / "codoperf-otel"
