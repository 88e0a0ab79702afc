"""From known rows to those like them, where it is known which those are."""

import pytest
import torch
import torch.nn.functional as F

from antidote.core import generator
from antidote.tracing import search
from antidote.tracing.search import FOLDS, Layer, Search, chance, drawn, parts

N, D, POISON = 1000, 10, 30  # the first POISON rows are poison
TRUE = torch.arange(N) < POISON
DISTANCE = 8.0


def noise(draw="noise", n=N, d=D):
    return torch.randn(n, d, generator=generator(0, draw))


def shifted(by=15.0, rows=TRUE, feature=3, draw="noise"):
    """Noise, but for `rows`, which are moved along a feature and its neighbour."""
    H = noise(draw)
    H[rows, feature] += by
    H[rows, feature + 1] -= by
    return H


def only(*rows, n=N):
    known = torch.zeros(n, dtype=torch.bool)
    known[list(rows)] = True
    return known


def searching(features, known, distance=DISTANCE, seed=0):
    part = parts(known, seed)
    layers = {name: Layer(H, part) for name, H in features.items()}
    return Search(layers, known, distance)


def found(group):
    return group.tail.rows.nonzero().squeeze(1).tolist()


KNOWN = {"one": only(7), "ten": only(*range(0, POISON, 3))}
each_known = pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)


@each_known
def test_the_group_is_found_to_the_row(known):
    group = searching({"a": shifted()}, known).run()
    assert found(group) == list(range(POISON))
    assert group.tail.apart(DISTANCE)
    assert group.scores.shape == (N,)
    assert group.scores[TRUE].min() > group.scores[~TRUE].max()


@each_known
def test_without_a_group_nothing_stands_apart(known):
    group = searching({"a": noise(), "b": noise("other")}, known).run()
    assert group is None or not group.tail.apart(DISTANCE)


@each_known
def test_the_layer_that_shows_it_is_named(known):
    features = {"dull": noise("dull"), "telling": shifted(), "noise": noise("more")}
    group = searching(features, known).run()
    assert group.layer == "telling"
    assert found(group) == list(range(POISON))


def test_of_two_groups_the_one_with_the_known_rows_is_found():
    other = (torch.arange(N) >= 500) & (torch.arange(N) < 560)
    H = shifted()
    H[other, 7] += 25
    assert found(searching({"a": H}, only(3, 4, 5)).run()) == list(range(POISON))
    assert found(searching({"a": H}, only(503, 504, 505)).run()) == list(range(500, 560))


def test_rows_that_stand_apart_in_another_layer_are_taken_too():
    """One layer shows rows 0 to 29, another 15 to 44."""
    first, second = torch.arange(N) < 30, (torch.arange(N) >= 15) & (torch.arange(N) < 45)
    features = {"a": shifted(rows=first), "b": shifted(rows=second, feature=6, draw="b")}
    group = searching(features, only(*range(15, 30, 3))).run()
    assert found(group) == list(range(45))


def test_a_group_more_than_twice_as_large_elsewhere_is_not_taken_too():
    """The rows are 0 to 29 in one layer; in another they are in a group of 100."""
    features = {"a": shifted(by=40.0), "b": shifted(rows=torch.arange(N) < 100, draw="b")}
    s = searching(features, only(*range(0, 30, 3)))
    s.best = s.discriminated("a", TRUE)
    assert s.best.layer == "a"
    assert found(s.completed()) == list(range(POISON))


@pytest.mark.parametrize(("innocent", "there"), [(0, True), (5, True), (10, True), (11, False)])
def test_half_of_the_known_rows_must_be_inside(innocent, there):
    """Ten known rows are poison; so many more are not."""
    known = only(*range(10), *range(100, 100 + innocent))
    group = searching({"a": shifted()}, known).run()
    if there:
        assert found(group) == list(range(POISON))
    else:
        assert group is None or not group.tail.apart(DISTANCE)
        assert group is None or group.tail.rows[known].double().mean() >= 0.5


def test_a_distance_that_the_group_does_not_reach_leaves_it_where_it_is():
    group = searching({"a": shifted()}, KNOWN["ten"], distance=1e3).run()
    assert not group.tail.apart(1e3)


@pytest.mark.parametrize(("size", "there"), [(4, False), (5, True), (600, True), (700, False)])
def test_a_group_has_at_least_five_rows_and_at_most_two_thirds(size, there):
    """The bulk may be the smaller part, where a start says what is not in it."""
    rows = torch.arange(N) < size
    s = searching({"a": shifted(by=30.0, rows=rows)}, only())
    group = s.run(rows)
    assert (group is not None and found(group) == list(range(size))) == there


def test_from_a_start_no_known_row_is_needed():
    rows = TRUE.clone()
    rows[:20] = False  # some of the poison
    rows[[200, 300]] = True  # and others
    assert found(searching({"a": shifted()}, only()).run(rows)) == list(range(POISON))


@pytest.mark.parametrize("start", [only(), only(5), torch.ones(N, dtype=torch.bool)])
def test_no_start_leads_nowhere(start):
    assert searching({"a": shifted()}, only()).run(start) is None


@each_known
def test_rows_in_another_order_give_the_same_rows(known):
    order = torch.randperm(N, generator=generator(0, "order"))
    H, part = shifted(), parts(known, 0)
    one = Search({"a": Layer(H, part)}, known, DISTANCE).run()
    other = Search({"a": Layer(H[order], part[order])}, known[order], DISTANCE).run()
    assert torch.equal(one.tail.rows[order], other.tail.rows)
    torch.testing.assert_close(one.scores[order], other.scores)


def test_features_of_any_scale_and_place_give_the_same():
    H = shifted()
    coin = generator(0, "scale")
    moved = H * torch.exp(3 * torch.randn(D, generator=coin)) + 50 * torch.randn(D, generator=coin)
    one, other = (searching({"a": features}, KNOWN["ten"]).run() for features in (H, moved))
    assert torch.equal(one.tail.rows, other.tail.rows)
    torch.testing.assert_close(one.scores, other.scores, rtol=1e-3, atol=1e-3)


def test_constant_features_do_no_harm():
    H = torch.cat([shifted(), torch.ones(N, 2), torch.zeros(N, 1)], 1)
    assert found(searching({"a": H}, KNOWN["ten"]).run()) == list(range(POISON))
    assert searching({"a": torch.ones(N, 3)}, KNOWN["ten"]).run() is None


# layers


def plainly(H, part, rows, shrink):
    """`Layer.crossed` from its definition: everything refitted without the part that is scored."""
    H = H.double()
    H = (H - H.mean(0)) / H.std(0)
    scores = torch.zeros(len(H), FOLDS, dtype=torch.float64)
    for k in range(FOLDS):
        rest = part != k
        S = torch.cov(H[rest].T, correction=0)
        S += shrink * S.diagonal().mean() * torch.eye(len(S))
        away = H[rest & rows].mean(0) - H[rest & ~rows].mean(0)
        s = H @ torch.linalg.solve(S, away)
        bulk = s[rest & ~rows]
        scores[:, k] = (s - bulk.mean()) / bulk.std()
    own = scores.gather(1, part.clamp(max=FOLDS - 1)[:, None]).squeeze(1)
    return torch.where(part == FOLDS, scores.mean(1), own)


@pytest.mark.parametrize("single", [False, True])
def test_no_row_is_scored_by_a_direction_it_helped_to_find(single):
    """But a single known one, which is in no part: its score is the mean of all parts'."""
    H, part = shifted(by=2.0), parts(only(7) if single else only(7, 8), 0)
    assert int((part == FOLDS).sum()) == single
    expected = plainly(H, part, TRUE, search.SHRINK)
    torch.testing.assert_close(Layer(H, part).crossed(TRUE), expected, rtol=1e-8, atol=1e-8)


def test_a_row_alone_in_its_group_cannot_score_itself_up():
    """A far row is taken for poison: judged by others' directions it scores as before."""
    H, part = noise(), parts(only(1, 2), 0)
    H[500] += 5.0
    layer, rows = Layer(H, part), TRUE.clone()
    before = layer.crossed(rows)[500]
    rows[500] = True
    own = part == part[500]
    with_it = layer.crossed(rows)
    # only what its part takes for the bulk's scale could have moved: it is not in it
    torch.testing.assert_close(with_it[500], before, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(with_it[~own], layer.crossed(TRUE)[~own])


def test_a_part_without_a_direction_scores_nothing():
    part = parts(only(1, 2), 0)
    rows = torch.zeros(N, dtype=torch.bool)
    rows[(part == 2).nonzero()[:5]] = True
    scores = Layer(noise(), part).crossed(rows)
    assert (scores[part == 2] == 0).all()
    assert (scores[part != 2] != 0).all()


def test_the_total_covariance_gives_the_direction_of_that_within_groups(monkeypatch):
    """Sherman and Morrison: S_t = S_w + c d d', so S_t^-1 d is parallel to S_w^-1 d."""
    monkeypatch.setattr(search, "SHRINK", 0.0)
    layer = Layer(shifted(by=2.0) @ noise("mixed", D, D), parts(TRUE, 0))
    H = layer.H
    P, R = H[TRUE], H[~TRUE]
    S_w = (torch.cov(P.T, correction=0) * len(P) + torch.cov(R.T, correction=0) * len(R)) / N
    direct = torch.linalg.solve(S_w, P.mean(0) - R.mean(0))
    assert F.cosine_similarity(layer.along(TRUE), direct, dim=0) > 1 - 1e-9
    # and not as any other: the plain difference points elsewhere
    assert F.cosine_similarity(P.mean(0) - R.mean(0), direct, dim=0) < 0.99


def test_nearness_is_the_cosine_with_the_mean_direction_of_the_known():
    H, known = noise().double(), only(2, 3)
    z = (H - H.mean(0)) / H.std(0)
    mean = (z[2] / z[2].norm() + z[3] / z[3].norm()) / 2
    expected = torch.stack([z[i] @ mean / (z[i].norm() * mean.norm()) for i in range(N)])
    torch.testing.assert_close(Layer(H, parts(known, 0)).nearness(known), expected)


# parts


def test_parts_are_of_one_size_and_drawn_from_the_seed():
    known = only(3, 4)
    part = parts(known, 0)
    assert torch.bincount(part).tolist() == [N // FOLDS] * FOLDS
    assert torch.equal(part, parts(known, 0))
    assert not torch.equal(part, parts(known, 1))


def test_a_single_known_row_is_in_no_part_and_the_others_stay():
    one, two = parts(only(3), 0), parts(only(3, 4), 0)
    assert one[3] == FOLDS
    others = torch.arange(N) != 3
    assert torch.equal(one[others], two[others])


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_labels_of_a_few_rows_are_no_error(n):
    known = only(0, n=n)
    group = searching({"a": noise(n=n)}, known).run()
    assert group is None or not group.tail.apart(DISTANCE)


def told_by(features, known, seed=0, distance=DISTANCE):
    part = parts(known, seed)
    layers = {name: Layer(H, part) for name, H in features.items()}
    return chance(layers, known, distance, seed)


def test_the_chance_is_that_of_drawing_the_rows_held_back_from_all():
    """4 known of a group of 30: 2 lead to the group, whose other 28 are the 2 held back and 26."""
    known = only(0, 5, 10, 15)
    # both of 2 drawn from 998 rows are among 28, whichever half is held back
    assert told_by({"a": shifted()}, known) == pytest.approx(2 * 28 * 27 / (998 * 997))


def test_of_both_halves_the_one_that_says_more_is_taken_twice():
    """Half of three is one, which has less to go by than the two others."""
    part = parts(known := only(0, 5, 10), 0)
    layers = {"a": Layer(shifted(), part)}
    each = [
        drawn(layers, only(0), only(5, 10), DISTANCE),
        drawn(layers, only(5, 10), only(0), DISTANCE),
    ]
    # one sent: both others are among 29 of 999; two sent: the third is among 28 of 998
    assert each == pytest.approx([29 * 28 / (999 * 998), 28 / 998])
    assert chance(layers, known, DISTANCE, 0) == pytest.approx(2 * each[0])


def test_known_rows_without_a_group_say_as_much_as_chance():
    """Of 12 draws of innocent rows none is below 0.01, as would be one of a hundred."""
    H = {"a": noise(n=400), "b": noise("other", n=400)}
    draws = [torch.randperm(400, generator=generator(s, "draw"))[:12].tolist() for s in range(12)]
    p = torch.tensor([told_by(H, only(*rows, n=400), seed) for seed, rows in enumerate(draws)])
    assert p.min() > 0.01
    assert p.median() > 0.2


@pytest.mark.parametrize("seed", range(4))
def test_a_group_too_near_to_stand_apart_is_found_by_what_is_held_back(seed):
    H = {"a": shifted(3.0), "b": noise("other")}
    known = only(*range(0, POISON, 2))
    group = searching(H, known).run()
    assert not group.tail.apart(DISTANCE)
    assert group.tail.rows[TRUE].double().mean() > 0.8
    assert told_by(H, known, seed) < 1e-6


def test_what_is_nearest_holds_the_known_rows():
    """A natural group as far away is none of theirs, though some of them are in it."""
    H = {"a": shifted(3.0), "b": shifted(3.0, torch.arange(N) % 3 == 0, draw="other")}
    group = searching(H, only(*range(0, POISON, 2))).run()
    assert group.layer == "a"
    assert group.tail.rows[TRUE].double().mean() > 0.8
