"""``python -m codoperf_otel.cli`` is the ``codoperf`` command."""

import sys

from codoperf_otel.cli import main

if __name__ == "__main__":
    sys.exit(main())
