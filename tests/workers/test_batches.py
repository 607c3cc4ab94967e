"""Every image once in an epoch, the same batches for any number of ranks, batches of like images."""

import copy
import math
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.batches import Pick, Plan, aspect_groups, batches_by_size, grouped
from workers.world import World


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    num_images = draw(st.integers(1, 60))
    num_groups = draw(st.integers(0, 4))
    groups = draw(st.lists(st.integers(0, num_groups), min_size=num_images, max_size=num_images))
    return Plan(
        num_images=num_images,
        batch_size=draw(st.integers(1, num_images)),
        epochs=draw(st.integers(1, 3)),
        flip=draw(st.booleans()),
        groups=np.array(groups, dtype=np.int64) if num_groups else None,
    )


def batches(plan: Plan, seed: int = 0) -> list[list[Pick]]:
    return [batch for _, batch in plan.steps(np.random.default_rng(seed))]


@given(plans())
def test_an_epoch_takes_every_image_once_but_for_what_fills_no_batch(plan: Plan) -> None:
    found = batches(plan)
    assert plan.epochs is not None
    assert len(found) == plan.num_steps == plan.epochs * (plan.num_images // plan.batch_size)
    for start in range(0, len(found), plan.steps_per_epoch):
        taken = [pick.index for batch in found[start : start + plan.steps_per_epoch] for pick in batch]
        assert len(set(taken)) == len(taken) == plan.steps_per_epoch * plan.batch_size
        assert set(taken) <= set(range(plan.num_images))


@given(plans(), st.data())
def test_a_plan_goes_on_from_any_step_as_if_it_had_never_stopped(plan: Plan, data: st.DataObject) -> None:
    whole = batches(plan)
    first = data.draw(st.integers(0, plan.num_steps))
    draws = np.random.default_rng(0)
    orders = [order for order, _ in islice(plan.steps(draws), first)]
    later = plan.steps(copy.deepcopy(draws), first=first, order=orders[-1].copy() if orders else None)
    assert [batch for _, batch in later] == whole[first:]


@given(plans(), st.integers(1, 200))
def test_iterations_are_the_first_batches_of_enough_epochs_and_may_end_within_one(plan: Plan, iterations: int) -> None:
    cut = replace(plan, epochs=None, iterations=iterations)
    whole = replace(plan, epochs=cut.num_epochs)
    assert batches(cut) == batches(whole)[:iterations]
    assert len(batches(cut)) == cut.num_steps == iterations
    assert 0 <= whole.num_steps - iterations < plan.steps_per_epoch


def test_without_groups_the_generator_alone_gives_order_flips_and_seeds() -> None:
    plan = Plan(num_images=7, batch_size=3, epochs=2, flip=True)
    draws = np.random.default_rng(5)
    found = iter(batches(plan, seed=5))
    for _ in range(2):
        order = draws.permutation(7)
        for indices in (order[:3], order[3:6]):
            batch = next(found)
            assert [pick.index for pick in batch] == indices.tolist()
            assert [pick.flip for pick in batch] == (draws.random(3) < 0.5).tolist()
            assert [pick.seed for pick in batch] == draws.integers(2**63, size=3).tolist()


@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 2**32))
def test_the_ranks_share_each_batch_without_gap_or_overlap(num_steps: int, share: int, seed: int) -> None:
    plan = Plan(num_images=4 * share * num_steps + 3, batch_size=4 * share, epochs=1, flip=True)
    for batch in batches(plan, seed):
        for size in (1, 2, 4):
            worlds = [World(rank, size, torch.device("cpu")) for rank in range(size)]
            assert [pick for world in worlds for pick in world.share(batch)] == batch


@given(plans())
def test_only_the_last_batches_mix_groups_and_no_more_than_there_are_groups(plan: Plan) -> None:
    groups = plan.groups if plan.groups is not None else np.zeros(plan.num_images, dtype=np.int64)
    order = grouped(np.random.default_rng(1).permutation(plan.num_images), groups, plan.batch_size)
    assert sorted(order) == list(range(plan.num_images))
    shares = groups[order][: plan.steps_per_epoch * plan.batch_size].reshape(-1, plan.batch_size)
    is_pure = (shares == shares[:, :1]).all(axis=1)
    num_whole = sum(int(count) // plan.batch_size for count in np.bincount(groups))
    assert is_pure[:num_whole].all()


def test_images_of_one_group_are_trained_in_the_order_that_was_drawn() -> None:
    order = np.random.default_rng(2).permutation(20)
    assert grouped(order, np.zeros(20, dtype=np.int64), 4).tolist() == order.tolist()


def test_two_groups_part_wide_from_tall_and_more_part_by_equal_factors() -> None:
    sizes = [(100, 100), (100, 99), (60, 100), (100, 45), (40, 100)]
    assert aspect_groups(sizes, 2).tolist() == [1, 0, 1, 0, 1]
    assert aspect_groups(sizes, 4).tolist() == [2, 1, 2, 0, 3]


@given(
    st.lists(st.tuples(st.integers(1, 100), st.integers(1, 100)), max_size=40), st.integers(1, 9), st.integers(1, 40)
)
def test_images_are_evaluated_once_with_those_that_are_padded_alike(
    sizes: list[tuple[int, int]], batch_size: int, divisor: int
) -> None:
    found = batches_by_size(sizes.__getitem__, range(len(sizes)), batch_size, divisor=divisor)
    assert sorted(index for batch in found for index in batch) == list(range(len(sizes)))
    for batch in found:
        assert 1 <= len(batch) <= batch_size
        assert len({tuple(math.ceil(side / divisor) for side in sizes[index]) for index in batch}) == 1


def test_images_of_one_size_are_evaluated_in_their_order() -> None:
    assert batches_by_size(lambda index: (64, 64), range(5), 2, divisor=32) == [[0, 1], [2, 3], [4]]
