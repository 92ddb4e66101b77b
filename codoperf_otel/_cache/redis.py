"""The Redis tier: entries on a server that speaks Redis' protocol, shared by every process that uses it.

It never raises for what happens to the server. One that does not answer within the time limit is left alone
for a while, with one warning, and asked again afterwards. The server itself expires and evicts.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  # else `socket` imports it when it first looks a host up
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import redis
from redis import connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from codoperf_otel import _forks
from codoperf_otel._cache import clocks
from codoperf_otel._cache.codec import Codecs
from codoperf_otel._cache.items import Items
from codoperf_otel._cache.leases import Leases
from codoperf_otel._cache.moments import WHATEVER, Moment
from codoperf_otel._cache.namespace import Location, Namespace
from codoperf_otel._cache.records import Signer
from codoperf_otel._cache.tiers import Item, OnEvict
from codoperf_otel._cache.time_limit import Deadline, limited
from codoperf_otel._environment_variables import shown
from codoperf_otel._once import Once
from codoperf_otel._telemetry import names
from codoperf_otel._telemetry.interrupts import raise_interrupt

T = TypeVar("T")

log = logging.getLogger("codoperf_otel.cache")

OFF_SECONDS = 5.0
_LONGEST_MS = 10**12
_BATCH = 1000
_MARK_MS = 7 * 86_400_000
_SPECIAL = re.compile(r"[\\*?\[\]^-]")
_ESCAPED = r"\\\g<0>"


_KINDS = {"rediss": connection.SSLConnection, "unix": connection.UnixDomainSocketConnection}


def _place(key: str) -> bytes:
    """What is signed with an entry, so that it can stand at no other key."""
    return hashlib.sha256(key.encode()).digest()


def _kind_of(url: str) -> Any:
    return _KINDS.get(url.partition(":")[0], connection.Connection)


def _is_unchanged(commands: Any, watched: Any, since: Moment) -> bool:
    """Whether a moment lasts. If that changes before the commands are carried out, they are not."""
    commands.watch(*(watched[1:] if since.kept is WHATEVER else watched))
    kept, *cleared = commands.mget(watched)
    commands.multi()
    return cleared == since.cleared and (since.kept is WHATEVER or kept in (None, since.kept))


class Server(NamedTuple):
    """Which server, how long it may take in seconds, and what its keys begin with."""

    url: str
    timeout: float
    prefix: str


class Redis:
    """The entries of all namespaces on one server."""

    name = names.REDIS
    counts_at_once = False

    def __init__(self, server: Server, on_evict: OnEvict, codecs: Codecs, secret: bytes) -> None:
        self._server = server
        self._on_evict = on_evict
        self._items = Items(self.name, codecs)
        self._signer = Signer(secret)
        self._clock = clocks.monotonic
        self._deadline = Deadline()
        self._off_until = float("-inf")
        self._is_first_failure = Once()
        self._made: Any = None
        self._leases = Leases(self._run, lambda: self._client, server.prefix)
        self.claim, self.give_back = self._leases.claim, self._leases.give_back

    def forked(self) -> None:
        """Leave the connections to the parent. To close them takes a lock, which a thread of its may have."""
        if self._made is not None:
            self._made.auto_close_connection_pool = False
            self._made = None
        self._leases.forked()

    @property
    def _client(self) -> Any:
        """Made when it is first asked, as options of the URL may be wrong."""
        return self._make_once() if self._made is None else self._made

    def _make_once(self) -> Any:
        with _forks.importing.lock:  # redis-py imports something; a second client would close the first one's
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> Any:
        limit = self._server.timeout
        client = redis.Redis.from_url(
            self._server.url,
            connection_class=limited(_kind_of(self._server.url), self._deadline, limit),
            socket_timeout=limit,
            socket_connect_timeout=limit,
            retry=Retry(NoBackoff(), 0),  # its own would wait some time limits long
        )
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # not connected: the first one made imports something
        return client

    def get(self, location: Location) -> Item | None:
        key = self._key(location)
        packed = None if key is None else self._run(lambda: self._read(key), None)
        if key is None or packed is None:
            return None
        left, grace = self._items.age.left_on_server, location.namespace.grace
        found = self._items.found(self._signer, _place(key), packed, left, grace)
        if isinstance(found, Item):
            return found
        if self._run(lambda: self._client.delete(key), 0):
            self._on_evict(location.namespace, found, 1)
        return None

    def _read(self, key: str) -> bytes | None:
        """The bytes at a key; none for what is no record, such as a list."""
        try:
            found = self._client.get(key)
        except redis.ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            found = b""
        return found if found is None or isinstance(found, bytes) else b""

    def put(self, location: Location, item: Item) -> None:
        self._put(location, item, None)

    def moment(self, location: Location) -> Moment | None:
        watched = self._watched(location)
        found = None if watched is None else self._run(lambda: self._client.mget(watched), None)
        return None if found is None else Moment(found[1:], found[0])

    def put_since(self, location: Location, item: Item, since: Moment) -> bool:
        return self._put(location, item, since)

    def _watched(self, location: Location) -> list[str] | None:
        """The key, and what clears leave their marks at."""
        key = self._key(location)
        return None if key is None else [key, self._mark_of(None), self._mark_of(location.namespace)]

    def _mark_of(self, namespace: Namespace | None) -> str:
        return f"{self._server.prefix}-cleared:{'' if namespace is None else namespace.origin}"

    def _put(self, location: Location, item: Item, since: Moment | None) -> bool:
        """False: the moment is over."""
        key = self._key(location)
        if key is None:
            return True
        encoded = self._items.encoded(location.namespace, item.value)
        if encoded is None:
            self.remove(location)
            return True
        record = self._items.record(encoded, item, item.ttl)
        packed = self._signer.pack(_place(key), record)
        stays = (item.ttl + location.namespace.grace) * 1000
        claim = self._leases.name_of(location)
        milliseconds = max(1, int(min(stays, _LONGEST_MS)))
        watched = None if since is None else self._watched(location)

        def write() -> bool:
            with self._client.pipeline(transaction=since is not None) as commands:  # all in one round trip
                if since is not None and not _is_unchanged(commands, watched, since):
                    return False
                commands.set(key, packed, px=milliseconds)
                if self._leases.holds(claim):
                    commands.delete(claim)
                commands.execute()
            self._leases.forget(claim)
            return True

        return self._run(lambda: self._written(key, write), True)

    def _written(self, key: str, write: Callable[[], bool]) -> bool:
        try:
            return write()
        except redis.WatchError:
            return False
        except redis.OutOfMemoryError:  # a full server still answers; what it has here is out of date
            self._client.delete(key)
            return True

    def remove(self, location: Location) -> None:
        key = self._key(location)
        if key is not None:
            self._run(lambda: self._client.delete(key), None)

    def clear(self, namespace: Namespace | None = None) -> None:
        if namespace is None or namespace.origin is not None:
            self._run(lambda: self._unlink(namespace), None)

    def _unlink(self, namespace: Namespace | None) -> None:
        with suppress(redis.OutOfMemoryError):  # then there is no room for what is being computed
            self._client.set(self._mark_of(namespace), os.urandom(8), px=_MARK_MS)
        for keys in self._keys(namespace):
            self._client.unlink(*keys)

    def count(self, namespace: Namespace | None = None) -> int:
        return self._run(lambda: sum(map(len, self._keys(namespace))), 0)

    def size(self, _: Namespace | None = None) -> None:
        """The server does not say what the values of a few keys take."""

    def _keys(self, namespace: Namespace | None) -> Iterator[list[bytes]]:
        scope = self._server.prefix if namespace is None else self._scope(namespace)
        pattern = f"{_SPECIAL.sub(_ESCAPED, scope)}:*"
        cursor = 0
        while True:
            self._deadline.begin(self._server.timeout)
            cursor, keys = self._client.scan(cursor, pattern, _BATCH)
            if keys:
                yield keys
            if not cursor:
                return

    def _key(self, location: Location) -> str | None:
        address = location.address
        return None if address is None else f"{self._scope(location.namespace)}:{address.hex()}"

    def _scope(self, namespace: Namespace) -> str:
        return f"{self._server.prefix}:{namespace.origin}"

    def _run(self, work: Callable[[], T], otherwise: T) -> T:
        """What `work` returns; `otherwise` where the server fails, or has failed a moment ago."""
        if self._clock() < self._off_until:
            return otherwise
        try:
            self._deadline.begin(self._server.timeout)
            return work()
        except Exception as error:  # redis-py raises of many kinds where an answer is nonsense
            raise_interrupt(error)
            self._off_until = self._clock() + OFF_SECONDS
            tell = log.warning if self._is_first_failure() else log.debug
            tell("cache server %s is not asked for %g s: %s", shown(self._server.url), OFF_SECONDS, error)
            return otherwise
