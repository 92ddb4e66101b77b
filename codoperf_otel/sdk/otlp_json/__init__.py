"""Spans, metrics and log records as OTLP JSON objects, a module for each.

The result is what the OTLP exporters' encoder and protobuf's JSON printer return together, with ids as hex.
It is made directly, because the way over protobuf takes four times as long per span, and its import alone
takes as long as a short program.
"""
