"""The queries of a dashboard with its variables replaced, to be sent to a Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))")


def queries(dashboard: dict[str, Any], values: dict[str, str]) -> list[tuple[str, str]]:
    """Every query as (panel's title, PromQL).

    `values` holds what Grafana would put for each variable, without the `$`; a name that is not in it
    raises KeyError.
    """
    return [
        (panel["title"], _VARIABLE.sub(lambda found: values[found[1] or found[2]], target["expr"]))
        for panel in panels(dashboard)
        for target in panel.get("targets", ())
    ]


def panels(container: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All panels, those inside collapsed rows too."""
    for panel in container.get("panels", ()):
        yield panel
        yield from panels(panel)
