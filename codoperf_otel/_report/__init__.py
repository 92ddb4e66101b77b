"""Reads telemetry files and sums them up, as plain data; what shows it is elsewhere.

``files`` reads them by means of ``otlp_json`` into the classes of ``model``. ``trees`` and ``folding``
arrange the spans, ``processes`` counts the CPU time of child processes once; ``operations``, ``agents``,
``caches``, ``lazy_loads``, ``drops`` and ``metrics`` sum up; ``document`` puts all of it into one JSON
document. Nothing here needs more than the standard library.
"""
