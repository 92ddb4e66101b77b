"""What the whole machine is doing: CPU, memory, disk and network, at one time or over time."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from threading import TIMEOUT_MAX
from types import TracebackType
from typing import Any, Self

from codoperf_otel._environment_variables import setting_error
from codoperf_otel._readings import sampler, system_metrics

__all__ = ["SystemMetrics", "SystemMonitor", "get_system_metrics"]

_MAX_HISTORY = 1000

_MIB = 1 << 20
_GIB = 1 << 30


@dataclass
class SystemMetrics:
    """The figures of the whole machine at one time; one that the platform does not have is None.

    ``cpu_percent`` is the share of all CPUs' time that was used since the last reading in this process at
    least 0.1 s older, and in the first reading since the machine started; ``memory_percent`` and
    ``memory_used_mb``, in MiB, are the memory that no other program could have; ``disk_usage_percent`` and
    ``disk_free_gb``, in GiB, belong to the file system of the root directory (on Windows, of the current
    drive); ``network_bytes_sent`` and ``network_bytes_recv`` are totals of all interfaces since they are
    up; ``timestamp`` is in Unix seconds. In a container CPU and memory are the host's.
    """

    cpu_percent: float | None
    memory_percent: float | None
    memory_used_mb: float | None
    memory_total_mb: float | None
    disk_usage_percent: float | None
    disk_free_gb: float | None
    network_bytes_sent: int | None
    network_bytes_recv: int | None
    timestamp: float = field(default_factory=time.time)


class SystemMonitor:
    """Reads the machine when asked and, while it monitors, every `interval` seconds.

    It monitors from `start_monitoring` to `stop_monitoring`, or in a ``with`` block, on a daemon thread that
    all monitors share. A forked child's monitor does not, until it is started there.

    >>> with SystemMonitor(interval=0.5) as monitor:
    ...     total = sum(range(1000))
    >>> 0 < monitor.history[0].memory_percent <= 100
    True

    Raises:
        ValueError: `interval` is not a number of seconds above 0.
    """

    def __init__(self, interval: float = 1.0) -> None:
        if not 0 < interval <= TIMEOUT_MAX:
            raise setting_error("interval", interval, "a number of seconds above 0")
        self.interval = interval
        self._history: list[SystemMetrics] = []

    @property
    def history(self) -> list[SystemMetrics]:
        """The newest 1,000 readings taken while it monitored, that of the start included; oldest first."""
        return self._history[:]

    def start_monitoring(self) -> None:
        """Take a reading now and every `interval` seconds, if it does not already."""
        if sampler.shared.subscribe(self._sample, self.interval):
            self._sample()

    def stop_monitoring(self) -> None:
        """Take no more readings; `history` stays."""
        sampler.shared.unsubscribe(self._sample)

    def _sample(self, _: int = 0) -> None:
        self._history.append(self.get_current_metrics())
        del self._history[:-_MAX_HISTORY]

    def get_current_metrics(self) -> SystemMetrics:
        """The figures of the machine now; one reading serves for 50 ms."""
        reading, earlier = system_metrics.current()
        shares = system_metrics.utilization(reading, earlier)
        memory, disk, network = reading.memory, reading.filesystem, reading.network
        return SystemMetrics(
            cpu_percent=None if shares is None else 100 * system_metrics.busy(shares),
            memory_percent=memory and 100 * memory.used / memory.total,
            memory_used_mb=memory and memory.used / _MIB,
            memory_total_mb=memory and memory.total / _MIB,
            disk_usage_percent=disk and 100 * disk.used / (disk.used + disk.free),
            disk_free_gb=disk and disk.free / _GIB,
            network_bytes_sent=None if network is None else sum(each.transmit for each in network.values()),
            network_bytes_recv=None if network is None else sum(each.receive for each in network.values()),
            timestamp=reading.timestamp,
        )

    def __enter__(self) -> Self:
        self.start_monitoring()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_monitoring()


def get_system_metrics() -> dict[str, Any]:
    """The figures of the machine now, under the names of `SystemMetrics`' fields.

    >>> get_system_metrics()["memory_total_mb"] > 0
    True
    """
    return asdict(SystemMonitor().get_current_metrics())
