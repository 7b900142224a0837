import numpy as np
import pytest

from modeledge.core import RowRandom, Shuffle, keyed, seed_of


@pytest.mark.parametrize("n", [1, 2, 3, 17, 1000, 4097])
def test_a_shuffle_is_a_permutation_of_its_range(n):
    assert sorted(Shuffle(n, "seed", 3)(np.arange(n))) == list(range(n))


def test_another_key_is_another_order_and_the_same_key_the_same():
    one, two = Shuffle(1000, 1, 0), Shuffle(1000, 1, 1)
    rows = np.arange(1000)
    assert (one(rows) == Shuffle(1000, 1, 0)(rows)).all()
    assert (one(rows) != two(rows)).mean() > 0.9


def test_neighbours_do_not_stay_neighbours():
    order = Shuffle(100_000, "x")(np.arange(100_000))
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.02  # 3 sigma is 0.0095


def test_every_place_is_equally_likely():
    first = np.array([int(Shuffle(8, "place", key)(np.array([0]))[0]) for key in range(4000)])
    counts = np.bincount(first, minlength=8)
    assert ((counts - 500) ** 2 / 500).sum() < 24.3  # chi-square, 7 degrees of freedom, p = 0.001


def test_a_row_outside_the_range_is_an_error():
    with pytest.raises(ValueError, match="outside 0..9"):
        Shuffle(10, "x")(np.array([10]))


def test_keys_of_different_types_or_splits_do_not_collide():
    assert len({seed_of("a", "bc"), seed_of("ab", "c"), seed_of("1"), seed_of(1), seed_of("a", "b", "c")}) == 5


def test_a_keyed_generator_does_not_depend_on_what_was_drawn_before():
    before = keyed(1, "x").random(4)
    keyed(2, "y").random(100)
    assert (keyed(1, "x").random(4) == before).all()


def test_row_draws_do_not_depend_on_the_rows_beside_them():
    alone = RowRandom(np.array([7]), "mask").random((1, 50))
    among = RowRandom(np.array([3, 7, 9]), "mask").random((3, 50))
    assert (alone[0] == among[1]).all()
    assert (among[0] != among[1]).all()


def test_row_draws_are_uniform_and_continue():
    draw = RowRandom(np.arange(500), "u")
    a, b = draw.random((500, 200)), draw.random((500, 200))
    assert abs(a.mean() - 0.5) < 3 * (1 / 12 / a.size) ** 0.5
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.01
    which = draw.choice(3, size=(500, 200), p=np.array([0.5, 0.3, 0.2]))
    assert np.allclose(np.bincount(which.ravel()) / which.size, [0.5, 0.3, 0.2], atol=0.006)


def test_row_draws_succeed_as_often_as_they_should_whatever_the_longest_row_is():
    n = np.array([0, 1, 30, 7] * 5_000)
    found = RowRandom(np.arange(len(n)), "a").binomial(n, 0.3)
    assert (found <= n).all() and (found[n == 0] == 0).all()
    for size in (1, 7, 30):
        sigma = np.sqrt(size * 0.3 * 0.7 / 5_000)
        assert abs(found[n == size].mean() - size * 0.3) < 3 * sigma
    short = RowRandom(np.arange(4), "a").binomial(n[:4], 0.3)
    longer = RowRandom(np.arange(4), "a").binomial(np.array([0, 1, 30, 90]), 0.3)
    assert (short[:3] == longer[:3]).all()
