"""A program that is asked while it runs: it answers its own user's questions at a Unix socket.

One question per connection, as a line of JSON: ``{"question": "agents"}``. The answer is one JSON document:
``version`` and ``pid`` of the process, and ``rows``, or ``error``. Answers hold names and figures only.
"""
