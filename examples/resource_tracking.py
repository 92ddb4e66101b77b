"""Two operations tracked at once, a report of them, and whether one way to build a list is faster."""

from codoperf_otel import (
    ResourceTracker,
    benchmark_resource_usage,
    compare_benchmarks,
    create_resource_report,
)


def copied(count: int) -> list[int]:
    """The numbers, each of them in a new copy of the list."""
    numbers: list[int] = []
    for number in range(count):
        numbers = [*numbers, number]
    return numbers


def main() -> None:
    """Track, report, compare."""
    tracker = ResourceTracker(sample_interval=0.05)
    tracker.start_tracking("index")
    tracker.start_tracking("load pages", context={"pages": 3})
    pages = bytearray(64 << 20)
    loaded = tracker.stop_tracking("load pages")
    del pages
    indexed = tracker.stop_tracking("index")
    report = create_resource_report([loaded, indexed])
    print(report["summary"]["total_operations"], "operations")
    print("load pages grew by 64 MiB:", loaded.memory_delta_mb > 60)

    before = benchmark_resource_usage(copied, 15, 2_000)
    after = benchmark_resource_usage(list, 15, range(2_000))
    print("list() is", compare_benchmarks(before, after)["verdict"])


if __name__ == "__main__":
    main()
