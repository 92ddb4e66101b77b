"""Sums that are added to from anywhere: nothing is counted twice or lost."""

from __future__ import annotations

from codoperf_otel._calls.totals import Total
from codoperf_otel._statistics.ledgers import BATCH


def test_a_sum_is_kept_small():
    """Values are added up once there are many, and the sum is the same."""
    total = Total()
    for value in range(3 * BATCH):
        total.append(value)
    assert len(total._added) < BATCH
    assert total.value() == sum(range(3 * BATCH))


def test_what_is_added_and_read_in_the_midst_of_a_fold_counts_once():
    """A signal handler may add to the sum and read it between any two lines of a read."""
    total = Total()
    total.append(1)

    class Interrupted(list):
        def __getitem__(self, place):
            found = super().__getitem__(place)
            total._added = list(self)
            total.append(2)
            assert total.value() == 3
            return found

    total._added = Interrupted(total._added)
    assert total.value() == 3
