"""The spool: what is to be sent over OTLP is on disk first, until the endpoint has acknowledged it.

``records`` are what is written, ``segments`` the files, ``folder`` all of them and their bounds. ``writer``
appends, ``courier`` sends by means of ``senders``, and ``exporters`` are what the SDK sees of it.
"""
