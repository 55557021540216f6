import numpy as np

from vae_anomaly.evaluation.paired import count_by_block, cut_blocks, find_gap


def test_the_interval_holds_the_difference_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        hard = rng.uniform(0.2, 0.8, size=40)  # what makes a block hard is hard for both
        first, second = (rng.binomial(20, hard + shift) for shift in (0.1, 0.0))
        gap = find_gap(first.astype(float), second.astype(float), np.full(40, 20.0))
        held += gap.low <= 0.1 <= gap.high
    assert 165 <= held <= 197  # 90 % of 200, with noise


def test_pairing_makes_the_interval_narrow():
    hits = np.random.default_rng(0).binomial(10, 0.5, size=30).astype(float)
    gap = find_gap(hits + 1.0, hits, np.full(30, 11.0))
    assert gap.low == gap.value == gap.high == 1 / 11


def test_blocks_without_weight_count_for_nothing():
    gap = find_gap(np.array([1.0, 0.0]), np.array([0.0, 0.0]), np.array([2.0, 0.0]))
    assert (gap.value, gap.low) == (0.5, 0.5)
    assert np.isnan(find_gap(np.zeros(2), np.zeros(2), np.zeros(2)).value)


def test_blocks_end_where_an_asset_does():
    codes = np.repeat([0, 1, 2], [5, 1, 3])
    assert cut_blocks(codes, block_steps=2).tolist() == [0, 0, 1, 1, 2, 3, 4, 4, 5]
    assert cut_blocks(codes[:0], block_steps=2).size == 0


def test_counts_are_of_every_block():
    counted = count_by_block(np.array([0, 0, 2]), np.array([True, True, False]), num=4)
    assert counted.tolist() == [2.0, 0.0, 0.0, 0.0]
