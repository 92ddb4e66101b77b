"""Memory that nobody has touched before."""

from __future__ import annotations

import mmap


def fresh(mib: int) -> mmap.mmap:
    """So many MiB, taken from the kernel and touched: pages of the C heap may have been touched before."""
    block = mmap.mmap(-1, mib << 20)
    for page in range(0, len(block), mmap.PAGESIZE):
        block[page] = 1
    return block
