"""Write the dashboard, or see whether the committed file is what this writes.

python dashboards/generate.py [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from grafana import choice, dashboard, variable
from panels import ROWS
from promql import AGENT, PROCESSES, series

FILE = Path(__file__).with_name("agents-resources.json")
TITLE = "Agents \N{MULTIPLICATION SIGN} resources"
ABOUT = "What agents, their tools, caches and functions cost, and what the processes have."
OWN = '__name__=~"(codoperf|gen_ai)_.+"'
UPTIME = f"{series('process_uptime_seconds')}[$__range]"


def main() -> None:
    """Write the file, or with `--check` end with 1 where it differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the file is stale")
    check = parser.parse_args().check
    text = generated()
    if not check:
        FILE.write_text(text, encoding="utf-8")
    elif not FILE.exists() or FILE.read_text(encoding="utf-8") != text:
        sys.exit(f"{FILE} is stale: run `python dashboards/generate.py` and commit the result")


def generated() -> str:
    """The dashboard as Grafana's JSON."""
    whole = dashboard("codoperf-agents-resources", TITLE, ABOUT, _variables(), ROWS)
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _variables() -> list[dict[str, object]]:
    return [
        choice("service", "Service", f"label_values({{{OWN}}}, service_name)"),
        choice(
            "instance", "Process", f'label_values({{{OWN}, service_name=~"$service"}}, service_instance_id)'
        ),
        choice("agent", "Agent", f"label_values({{{OWN}, {PROCESSES}}}, {AGENT})"),
        variable("interval", "Export interval", _export_interval(), regex='/interval="([^"]+)"/'),
    ]


def _export_interval() -> str:
    """How often the processes export, from their uptimes: rates need it, and Grafana cannot know it."""
    gained = f"max_over_time({UPTIME}) - min_over_time({UPTIME})"
    seconds = f"clamp_min(round(max(({gained}) / ((count_over_time({UPTIME}) > 1) - 1))), 1)"
    found = f'label_replace(count_values("interval", {seconds}), "unit", "s", "", "")'
    return f'query_result(label_join({found}, "interval", "", "interval", "unit"))'


if __name__ == "__main__":
    main()
