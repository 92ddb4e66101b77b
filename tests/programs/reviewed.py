"""Review a tree with the demo's agents and say, as JSON, what this process counted meanwhile.

reviewed.py TREE ENDPOINT FILE_FOLDER CACHE_FOLDER
"""

import json
import sys
import time

import codoperf_otel
from codoperf_otel.demo import review

tree, endpoint, files, cache_folder = sys.argv[1:]


@codoperf_otel.monitor_performance("nap")
def nap() -> None:
    time.sleep(0.01)


@codoperf_otel.monitor_performance("fails")
def fails() -> None:
    raise KeyError("on purpose")


with codoperf_otel.configure(
    "end-to-end", endpoint=endpoint, file=files, metric_export_interval=1.0
) as telemetry:
    cache = codoperf_otel.CacheManager(cache_folder)
    review(tree, cache=cache)
    review(tree, cache=cache)
    for _ in range(60):
        nap()
    for _ in range(3):
        try:
            fails()
        except KeyError:
            pass
    telemetry.force_flush()
    calls = [
        metrics.function_name for metrics in codoperf_otel.performance_monitor._performance_monitor.metrics
    ]
    counts = {name: codoperf_otel.get_performance_stats(name)["total_calls"] for name in set(calls)}
    print(json.dumps({"calls": counts, "all": codoperf_otel.get_performance_stats()["total_calls"]}))
