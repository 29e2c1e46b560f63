"""The order of samples in an epoch, and which rank takes which at which step."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from visionjobs.data.order import batch_plan, epoch_order, evaluation_plan


def pairs(order):
    return list(zip(order.sample.tolist(), order.copy.tolist(), strict=True))


# The order of an epoch


@given(n=st.integers(0, 60), copies=st.integers(0, 4), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 99_999))
def test_an_epoch_has_every_image_and_copy_exactly_once(n, copies, seed, epoch):
    order = epoch_order(n, copies, seed, epoch)
    assert order.sample.dtype == order.copy.dtype == np.int64
    assert sorted(pairs(order)) == list(itertools.product(range(n), range(copies + 1)))


def test_the_order_is_a_pure_function_of_seed_and_epoch():
    first = pairs(epoch_order(200, 3, 7, 2))
    torch.manual_seed(1)
    np.random.default_rng(2).random(3)
    assert pairs(epoch_order(200, 3, 7, 2)) == first


def test_the_order_draws_nothing_from_the_global_generator():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    epoch_order(10, 0, 0, 0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("other", [(7, 3), (8, 2), (2, 7), (3, 7)])
def test_other_seeds_and_epochs_give_other_orders(other):
    assert pairs(epoch_order(200, 0, 7, 2)) != pairs(epoch_order(200, 0, *other))


def test_the_order_is_the_same_for_ever():
    """Runs are resumed with later versions: a change of the order would break 'identical to the bit'."""
    assert pairs(epoch_order(4, 1, 0, 0)) == [(0, 1), (1, 0), (3, 0), (1, 1), (0, 0), (2, 0), (2, 1), (3, 1)]
    assert epoch_order(30_000, 0, 12, 3).sample[:6].tolist() == [3926, 27314, 16713, 19800, 10331, 29042]


def test_four_times_as_many_samples_with_three_copies():
    assert len(epoch_order(100, 3, 0, 0).sample) == 400


# Batches


@given(
    n=st.integers(0, 50), copies=st.integers(0, 3), share=st.integers(1, 7), world=st.integers(1, 5),
    start=st.integers(0, 6),
)  # fmt: skip
def test_the_parts_of_the_ranks_make_up_the_global_batches_and_the_rest_is_dropped(n, copies, share, world, start):
    order = epoch_order(n, copies, 1, 1)
    global_batch = share * world
    plans = [list(batch_plan(order, global_batch, rank, world, start)) for rank in range(world)]
    steps = len(order.sample) // global_batch
    assert all([part.step for part in plan] == list(range(start, steps)) for plan in plans)
    together = [pair for parts in zip(*plans, strict=True) for part in parts for pair in pairs(part)]
    assert all(len(part.sample) == share for plan in plans for part in plan)
    assert together == pairs(order)[start * global_batch : steps * global_batch]


@given(n=st.integers(1, 60), copies=st.integers(0, 3), batch=st.integers(1, 9), data=st.data())
def test_starting_at_a_step_gives_the_same_tail(n, copies, batch, data):
    order = epoch_order(n, copies, 3, 4)
    whole = list(batch_plan(order, batch, 0, 1))
    start = data.draw(st.integers(0, len(whole)))
    tail = list(batch_plan(order, batch, 0, 1, start))
    assert [(part.step, pairs(part)) for part in tail] == [(part.step, pairs(part)) for part in whole[start:]]


def test_a_global_batch_that_cannot_be_shared_equally_is_refused():
    with pytest.raises(ValueError, match="32 cannot be divided equally among 3"):
        batch_plan(epoch_order(64, 0, 0, 0), 32, 0, 3)


@given(n=st.integers(0, 70), batch=st.integers(1, 20), world=st.integers(1, 9))
def test_evaluation_takes_every_sample_once_in_equal_shares(n, batch, world):
    plans = [list(evaluation_plan(n, batch, rank, world)) for rank in range(world)]
    samples = [np.concatenate([part.sample for part in plan]).tolist() if plan else [] for plan in plans]
    assert list(itertools.chain(*samples)) == list(range(n))
    assert max(map(len, samples)) - min(map(len, samples)) <= 1
    assert all(0 < len(part.sample) <= batch for plan in plans for part in plan)
    assert not any(part.copy.any() for plan in plans for part in plan)
