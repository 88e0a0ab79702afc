"""The tracer by features: finds what looks like the known samples, and nothing where nothing is."""

import copy
from functools import cache
from itertools import pairwise

import pytest
import torch
from torch import nn
from training import same, split, state, victim

from antidote.core import BadInput
from antidote.core.data import fingerprint
from antidote.dataset.augment import CropFlip
from antidote.dataset.digits import digits
from antidote.tracing.features import INPUT, MOST, Features, Sight, chosen

N = 900  # rows, their labels 0, 1, 2 in turn
FIRST, SECOND = list(range(0, 120, 3)), list(range(1, 91, 3))  # rows of labels 0 and 1 with a patch


class Small(nn.Module):
    """Of its layers one takes no part."""

    def __init__(self, channels=1, answers=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 3)
        self.wide = nn.Conv2d(6, 8, 3)
        self.idle = nn.Linear(8, answers)
        self.last = nn.Linear(8, answers)

    def forward(self, x):
        return self.last(self.wide(self.conv(x).relu()).relu().mean((2, 3)))


@cache
def net(**how):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Small(**how).eval()


def stamped(*groups):
    """Noise; the rows of the groups have a bright patch in the corner."""
    x = torch.rand(N, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for rows in groups:
        x[rows, :, -3:, -3:] = 1.5
    return x, torch.arange(N) % 3


def tracer(**changed):
    return Features(
        **{"distance": 8.0, "other_labels": True, "unknown": True, "layer": None, "seed": 0}
        | changed
    )


def traced(world, known, **changed):
    return tracer(**changed).trace(victim(net()), split(*world, known))


def rows_of(traced):
    return traced.rows.sort().values.tolist()


def without(rows, known):
    return [row for row in rows if row not in known]


@pytest.mark.parametrize("known", [FIRST[5:6], FIRST[::5], FIRST[:-1]], ids=len)
def test_the_poison_is_found_to_the_row(known):
    found = traced(stamped(FIRST), known)
    assert rows_of(found) == without(FIRST, known)
    assert found.evidence["labels"] == 1
    assert found.evidence["known_apart"] == 0
    assert found.evidence["label_0_rows"] == len(FIRST)
    assert found.evidence["distance"] == found.evidence["label_0_distance"] > 8
    assert found.evidence["sure"] > 0.99
    assert found.sample_gradients == 0


@pytest.mark.parametrize("known", [[200], [0, 3], [0, 1], list(range(0, 60, 3))], ids=str)
def test_innocent_suspects_lead_to_nothing(known):
    found = traced(stamped(), known)
    assert rows_of(found) == []
    assert found.evidence["labels"] == 0
    assert found.evidence["known_apart"] == len(known)


def test_innocent_suspects_lead_to_nothing_in_real_classes():
    """One of each of three classes of 1,078 digits, seen by an untrained net.

    How often they do lead to something is counted in test_tracing_stage.py.
    """
    data = digits(CropFlip(2, 0.0), upscale=1, test_share=0.4, seed=0, limit=None)
    y = data.train.y
    known = [row for digit in (2, 5, 8) for row in (y == digit).nonzero()[:1, 0].tolist()]
    found = tracer().trace(victim(net(answers=10)), split(data.train.x / 255, y, known))
    assert rows_of(found) == []
    assert found.evidence["known_apart"] == 3


def test_innocent_suspects_of_another_label_do_no_harm():
    known = [*FIRST[:3], 2, 5, 8]
    found = traced(stamped(FIRST), known)
    assert rows_of(found) == FIRST[3:]
    assert found.evidence["known_apart"] == 3


def test_innocent_suspects_in_the_majority_are_told_apart_from_the_poison():
    """Together they lead nowhere: the known ones are tried one by one."""
    innocent = [300, 303, 306, 309, 312]
    known = [*FIRST[:3], *innocent]
    found = traced(stamped(FIRST), known)
    assert rows_of(found) == FIRST[3:]
    assert found.evidence["known_apart"] == len(innocent)


def faint(*groups, by=0.6):
    """Noise; the rows of the groups are a little brighter in the corner."""
    x, y = stamped()
    for rows in groups:
        x[rows, :, -3:, -3:] += by
    return x, y


@pytest.mark.parametrize("known", [FIRST[::10], FIRST[::3]], ids=len)
def test_a_near_group_counts_if_known_samples_held_back_are_in_it(known):
    found = traced(faint(FIRST), known)
    assert 5 < found.evidence["distance"] < 8
    if len(known) == 4:  # two among 40 of 300 may be by chance
        assert found.evidence["chance"] > 1e-4
        assert rows_of(found) == []
    else:
        assert found.evidence["chance"] < 1e-4
        assert found.evidence["labels"] == 1
        inside = set(rows_of(found)) & set(FIRST)
        assert len(inside) > 0.8 * (len(FIRST) - len(known))


def test_nothing_is_held_back_of_a_few_or_where_a_group_stands_apart():
    assert "chance" not in traced(stamped(FIRST), FIRST[::5]).evidence
    assert "chance" not in traced(stamped(), FIRST[:3]).evidence


def test_only_a_few_are_tried_one_by_one():
    """The poison comes after four innocent ones, in the order of rows."""
    known = [120, 123, 126, 129, 132, *range(400, 402)]
    late = list(range(402, 522, 3))
    found = traced(stamped(late), [*known, *late[:3]])
    assert rows_of(found) == []


def test_a_group_under_another_label_is_found_from_a_single_known_row():
    found = traced(stamped(FIRST, SECOND), FIRST[:1])
    assert rows_of(found) == sorted([*FIRST[1:], *SECOND])
    assert found.evidence["labels"] == 2
    assert found.evidence["label_1_rows"] == len(SECOND)
    assert "label_2_rows" not in found.evidence


def test_other_labels_are_left_alone_where_they_are_not_asked_for():
    found = traced(stamped(FIRST, SECOND), FIRST[:1], other_labels=False, unknown=False)
    assert rows_of(found) == FIRST[1:]
    _, y = stamped()
    looked_at = found.scores.isfinite()
    assert torch.equal(looked_at, y[1:] == 0)


def second(first, rows):
    """As stamped, and `rows` are dark in the opposite corner: another trigger."""
    x, y = stamped(first)
    x[rows, :, :3, :3] = -1
    return x, y


@pytest.mark.parametrize("rows", [SECOND, list(range(300, 390, 3))], ids=["other label", "same"])
def test_a_second_trigger_is_found_of_which_no_sample_is_known(rows):
    found = traced(second(FIRST, rows), FIRST[:1])
    assert rows_of(found) == sorted([*FIRST[1:], *rows])
    assert found.evidence["unknown"] == 1
    assert rows_of(traced(second(FIRST, rows), FIRST[:1], unknown=False)) == FIRST[1:]


def test_a_few_odd_rows_are_no_second_trigger():
    """The known trigger has 40 rows: fewer than 10 are too few."""
    found = traced(second(FIRST, SECOND[:8]), FIRST[:1])
    assert rows_of(found) == FIRST[1:]
    assert found.evidence["unknown"] == 0


def test_nothing_unknown_is_looked_for_where_nothing_known_is_found():
    found = traced(second([], SECOND), [300])
    assert rows_of(found) == []
    assert found.evidence["unknown"] == 0


def test_a_label_of_its_own_known_rows_is_searched_from_those():
    """Two attacks: each label has its own patch, and its own known sample."""
    x, y = stamped(FIRST)
    x[SECOND, :, :3, :3] = 1.5
    found = traced((x, y), [FIRST[0], SECOND[0]], other_labels=False)
    assert rows_of(found) == sorted([*FIRST[1:], *SECOND[1:]])


def test_what_another_label_has_inside_is_no_poison():
    """A group under label 1 in another corner than the patch."""
    x, y = stamped(FIRST)
    x[SECOND, :, :3, :3] = 1.5
    assert rows_of(traced((x, y), FIRST[:3])) == FIRST[3:]


def test_scores_are_in_the_order_of_the_retained_rows():
    known = [*FIRST[::5]]
    parts = split(*stamped(FIRST), known)
    found = tracer().trace(victim(net()), parts)
    _, y = stamped()
    kept = parts.retain.rows
    assert found.scores.shape == kept.shape
    assert torch.equal(found.scores.isfinite(), y[kept] == 0)
    poison = torch.isin(kept, torch.tensor(FIRST))
    assert found.scores[poison].min() > found.scores[(y[kept] == 0) & ~poison].max()


def test_rows_keep_their_ids_whatever_their_order():
    world, known = stamped(FIRST), FIRST[:3]
    parts = split(*world, known)
    order = torch.randperm(parts.retain.count, generator=torch.Generator().manual_seed(0))
    mixed = copy.copy(parts)
    object.__setattr__(mixed, "retain", parts.retain.with_(rows=parts.retain.rows[order]))
    one, other = (tracer().trace(victim(net()), p) for p in (parts, mixed))
    assert rows_of(one) == rows_of(other) == FIRST[3:]
    poison = torch.isin(mixed.retain.rows, torch.tensor(FIRST))
    clean = other.scores.isfinite() & ~poison
    assert other.scores[poison].min() > other.scores[clean].max()


def test_the_same_is_found_again():
    one, other = (traced(stamped(FIRST, SECOND), FIRST[:4]) for _ in range(2))
    assert torch.equal(one.rows, other.rows)
    torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=0, equal_nan=True)
    assert one.evidence == other.evidence


def test_the_parts_are_drawn_from_the_seed():
    one, other = (traced(stamped(FIRST), FIRST[:4], seed=seed) for seed in (0, 1))
    assert torch.equal(one.rows, other.rows)
    assert not torch.equal(one.scores.nan_to_num(), other.scores.nan_to_num())


def test_the_net_is_left_as_it_is():
    model = copy.deepcopy(net()).train()
    model.last.bias.requires_grad_(False)
    before = state(model)
    tracer().trace(victim(model), split(*stamped(FIRST), FIRST[:3]))
    assert same(before, state(model))
    assert all(m.training for m in model.modules())
    assert not model.last.bias.requires_grad
    assert all(w.grad is None for w in model.parameters())
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_rows_are_looked_at_without_augmentation_but_with_their_trigger():
    def never(x, generator):
        raise AssertionError("an augmented row was looked at")

    def view(x, rows):
        x = x.clone()
        x[torch.isin(rows, torch.tensor(FIRST)), :, -3:, -3:] = 1.5
        return x

    parts = split(*stamped(), FIRST[:3], augment=never, view=view)
    assert rows_of(tracer().trace(victim(net()), parts)) == FIRST[3:]


def test_what_is_no_image_is_looked_at_in_the_net_alone():
    x = torch.randn(N, 5, generator=torch.Generator().manual_seed(0))
    x[FIRST, 1] += 20
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 3))
    found = tracer().trace(victim(model), split(x, torch.arange(N) % 3, FIRST[:3]))
    assert rows_of(found) == FIRST[3:]


@pytest.mark.parametrize("few", [1, 2, 4])
@pytest.mark.parametrize("bears", ["known", "other"])
def test_a_label_of_a_few_rows_is_no_error(few, bears):
    """Borne by one known sample besides, or by none."""
    x, y = stamped(FIRST)
    y[200 : 200 + few] = 3
    known = [*FIRST[:3], *[200] * (bears == "known")]
    assert rows_of(traced((x, y), known)) == FIRST[3:]


# layers


def test_a_layer_that_is_named_is_the_only_one_to_look_at():
    parts = split(*stamped(FIRST), FIRST[:3])
    assert list(Sight(net(), parts.retain, "wide").features) == ["wide"]
    assert list(Sight(net(), parts.retain, None).features) == ["wide", "last", INPUT]
    assert rows_of(traced(stamped(FIRST), FIRST[:3], layer="wide")) == FIRST[3:]


def test_the_first_layer_is_not_looked_at_and_the_last_one_is():
    deep = nn.Sequential(*[nn.Linear(3, 3) for _ in range(30)])
    layers = chosen(deep, None)
    assert len(layers) == MOST
    assert (layers[0], layers[-1]) == ("1", "29")
    steps = [int(b) - int(a) for a, b in pairwise(layers)]
    assert set(steps) == {4}


@pytest.mark.parametrize("depth", range(1, 24))
def test_layers_are_spread_and_named_once(depth):
    layers = chosen(nn.Sequential(*[nn.Linear(3, 3) for _ in range(depth)]), None)
    assert layers == sorted(set(layers), key=int)
    assert len(layers) == max(1, min(MOST, depth - 1))
    assert layers[-1] == str(depth - 1)


def test_a_layer_that_does_not_exist_is_refused_with_those_there_are():
    with pytest.raises(
        BadInput, match=r"tracing\.layer=fc is no layer of Small; it has conv, wide, idle, last"
    ):
        tracer(layer="fc").check(net())


def test_a_net_without_a_layer_to_look_at_is_refused():
    with pytest.raises(BadInput, match=r"Flatten has no linear layer .* tracing\.layer=\.\.\."):
        tracer().check(nn.Flatten())


def test_a_named_layer_that_takes_no_part_is_one_sentence():
    with pytest.raises(BadInput, match="layer=idle is not used when the net answers"):
        traced(stamped(FIRST), FIRST[:3], layer="idle")


@pytest.mark.parametrize("distance", [0, -1.0])
def test_a_distance_without_meaning_is_refused(distance):
    with pytest.raises(BadInput, match=rf"tracing\.distance={distance} must be positive"):
        tracer(distance=distance)


def test_a_tracing_is_named_by_its_settings():
    def key(**changed):
        return fingerprint([work.what for work in tracer(**changed).work()])

    assert key() == key()
    changes = [{"distance": 7.0}, {"other_labels": False}, {"layer": "last"}, {"seed": 1}]
    assert len({key(), *(key(**change) for change in changes)}) == 5
    assert tracer().needs_known
