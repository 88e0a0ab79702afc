"""Gradient matching: what is matched, within which bounds, and what becomes of the targets."""

import weakref
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from torch import nn

from antidote.core import BadInput, Memo, Surrogate, as_float
from antidote.dataset.augment import CropFlip
from antidote.dataset.digits import digits
from antidote.engine.memo import Remembered
from antidote.engine.stages import measure
from antidote.engine.store import Store
from antidote.metrics.score import Targeted, objective
from antidote.metrics.table import table
from antidote.metrics.targets import wilson
from antidote.model.resnet9 import ResNet9
from antidote.poison.gradient_matching import GradientMatching, added
from antidote.poison.matching import Craft, SignedAdam, crafting, gradient, matched, mismatch
from antidote.poison.shift import Shift, moved

SETTINGS = {
    "rate": 0.2,
    "targets": 2,
    "pairs": None,
    "eps": 16 / 255,
    "restarts": 2,
    "steps": 3,
    "tau": 0.1,
    "batch": 4,
    "match": "per_batch",
    "shift": 1,
    "flip": 0.5,
    "seed": 0,
}


def net():
    """Of images (n, 3, 12, 12), smooth, so that it can be derived twice everywhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        conv, head = nn.Conv2d(3, 4, 3, stride=2), nn.Linear(100, 4)
    return nn.Sequential(conv, nn.Softplus(), nn.Flatten(), head).eval()


def surrogate(memo=None):
    return Surrogate(net, memo or Memo())


def attack(**changes):
    return GradientMatching(**SETTINGS | changes)


def left_by(data, memo=None, **changes):
    return attack(**changes).poison(data, surrogate(memo))


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def crafted(x, y, target, made, **changes):
    craft = Craft(**{"eps": 0.1, "steps": 8, "tau": 0.1, "batch": 4, "match": "full"} | changes)
    std, coin = torch.full((x.shape[1],), 0.3), torch.Generator().manual_seed(0)
    with crafting(made):
        yield from craft(made, target, x, y, std, coin)


def lie(made, label=1):
    with crafting(made):
        return gradient(made, images(1, 3, 12, 12, seed=9), torch.tensor([label]))


# --- the loss -----------------------------------------------------------------------------------


@given(st.lists(st.floats(-9, 9).filter(lambda v: abs(v) > 0.01), min_size=2, max_size=9))
def test_the_mismatch_of_a_gradient_with_itself_is_0_and_with_its_opposite_2(values):
    g = torch.tensor(values)
    for scale, expected in ((1, 0), (7, 0), (-1, 2)):
        assert mismatch(g, scale * g).item() == pytest.approx(expected, abs=1e-5)


def test_the_mismatch_of_orthogonal_gradients_is_1():
    assert mismatch(torch.tensor([3.0, 0, 0]), torch.tensor([0, 0.5, -2.0])).item() == 1


def test_a_gradient_of_zero_is_a_mismatch_of_1_that_can_be_derived():
    g = torch.zeros(3, requires_grad=True)
    loss = mismatch(torch.ones(3), g)
    loss.backward()
    assert loss.item() == 1
    assert g.grad.isfinite().all()


def test_the_gradient_is_that_of_training():
    made, x, y = net(), images(5, 3, 12, 12), torch.tensor([0, 1, 2, 3, 0])
    nn.functional.cross_entropy(made(x), y).backward()
    expected = torch.cat([weight.grad.flatten() for weight in made.parameters()])
    torch.testing.assert_close(gradient(made, x, y) / 5, expected)


def test_a_poison_that_is_the_target_itself_has_no_mismatch():
    made, x, y = net(), images(1, 3, 12, 12), torch.tensor([2])
    assert matched(made, gradient(made, x, y), x, y, 4)[0].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("batch", [1, 3, 7, 8, 100])
def test_the_slope_is_that_of_the_whole_whatever_is_in_the_net_at_a_time(batch):
    made, x, y = net(), images(7, 3, 12, 12), torch.arange(7) % 4
    target = lie(made)
    whole = x.clone().requires_grad_()
    loss = mismatch(target, gradient(made, whole, y, graph=True))
    loss.backward()
    found, slope = matched(made, target, x, y, batch)
    torch.testing.assert_close(found, loss.detach())
    torch.testing.assert_close(slope, whole.grad, rtol=1e-3, atol=1e-8)


def test_the_slope_leads_downhill():
    made, x, y = net(), images(6, 3, 12, 12), torch.full((6,), 1)
    loss, slope = matched(made, lie(made), x, y, 4)
    assert matched(made, lie(made), x - 0.01 * slope.sign(), y, 4)[0] < loss


class Held:
    """A tensor that a graph holds; `now` and `most` count their bytes."""

    now = most = 0

    def __init__(self, tensor):
        size = tensor.numel() * tensor.element_size()
        self.tensor = tensor
        Held.now += size
        Held.most = max(Held.most, Held.now)
        weakref.finalize(self, Held.free, size)

    @staticmethod
    def free(size):
        Held.now -= size


def most_held(rows, batch):
    made, x, y = net(), images(rows, 3, 12, 12), torch.zeros(rows, dtype=torch.int64)
    target = lie(made)
    Held.now = Held.most = 0
    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        matched(made, target, x, y, batch)
    return Held.most


def test_what_graphs_hold_grows_with_the_batch_and_not_with_the_poison():
    assert most_held(64, batch=8) <= 1.05 * most_held(16, batch=8)
    assert most_held(64, batch=64) > 4 * most_held(64, batch=8)


# --- crafting -----------------------------------------------------------------------------------


@how(max_examples=25)
@given(
    st.floats(0.004, 1), st.floats(0.01, 3), st.sampled_from(["per_batch", "full"]), st.integers(0)
)
def test_the_bound_and_the_pixel_box_hold_after_every_step(eps, tau, match, seed):
    made, y = net(), torch.tensor([1, 1, 1, 1, 1])
    x = images(5, 3, 12, 12, seed=seed % 2**32).mul(3).sub(1).clamp(0, 1)  # many black and white
    how = {"eps": eps, "tau": tau, "match": match, "steps": 3, "shift": Shift(1, 0.5)}
    for delta, _ in crafted(x, y, lie(made), made, **how):
        assert delta.abs().max() <= eps
        assert (x + delta).min() >= 0
        assert (x + delta).max() <= 1


@given(st.floats(1 / 255, 1), st.integers(0, 999))
def test_stored_bytes_stay_within_the_bound(eps, seed):
    x = (images(2, 1, 4, 4, seed=seed) * 255).byte()
    delta = ((2 * images(2, 1, 4, 4, seed=seed + 1) - 1) * eps).clamp(-as_float(x), 1 - as_float(x))
    moved = added(x, delta, eps).int() - x.int()
    assert moved.abs().max() <= eps * 255 + 1e-3
    assert (moved - delta * 255).abs().max() < 1


def test_16_of_255_are_16_steps_of_a_byte():
    x = torch.full((1, 1, 1, 2), 128, dtype=torch.uint8)
    for eps in (16 / 255, 0.0627451):
        assert added(x, torch.tensor([[[[eps, -eps]]]]), eps).flatten().tolist() == [144, 112]


def test_both_kinds_of_matching_are_the_same_in_one_batch():
    made, x, y = net(), images(6, 3, 12, 12), torch.full((6,), 1)
    how = {"batch": 6, "shift": Shift(1, 0.5)}
    kinds = [[*crafted(x, y, lie(made), made, match=m, **how)][-1] for m in ("per_batch", "full")]
    assert torch.equal(kinds[0][0], kinds[1][0])
    assert kinds[0][1] == kinds[1][1]


def test_batches_are_matched_each_on_its_own_or_all_together():
    made, x, y = net(), images(6, 3, 12, 12), torch.full((6,), 1)
    still = {"batch": 3, "shift": Shift(0, 0), "steps": 1, "eps": 1e-9}
    own, full = (
        next(crafted(x, y, lie(made), made, match=m, **still))[1] for m in ("per_batch", "full")
    )
    parts = [mismatch(lie(made), gradient(made, x[b], y[b])).item() for b in ([0, 1, 2], [3, 4, 5])]
    assert own == pytest.approx(sum(parts) / 2, abs=1e-5)
    assert full == pytest.approx(mismatch(lie(made), gradient(made, x, y)).item(), abs=1e-5)


def test_adam_told_signs_is_torchs():
    slopes = [images(5, seed=s) - 0.5 for s in range(6)]
    theirs = nn.Parameter(torch.zeros(5))
    adam, optimizer, ours = SignedAdam(theirs.detach()), torch.optim.Adam([theirs], 0.1), 0
    for slope in slopes:
        theirs.grad = slope.sign()
        optimizer.step()
        ours = ours - 0.1 * adam(slope)
    torch.testing.assert_close(ours, theirs.detach())


def test_the_step_falls_when_the_references_does():
    craft = Craft(0.1, 250, 0.1, 4, "full", Shift(0, 0))
    falls = [i for i in range(1, 250) if craft.rate(i) != craft.rate(i - 1)]
    assert falls == [93, 156, 218]
    assert craft.rate(249) == pytest.approx(1e-4)


@pytest.mark.parametrize("asked", [True, False])
def test_the_net_is_left_as_it_was(tiny, asked):
    made = net().requires_grad_(asked)
    before = [weight.clone() for weight in made.parameters()]
    attack().poison(tiny, Surrogate(lambda: made))
    assert all(map(torch.equal, before, made.parameters()))
    assert all(w.requires_grad == asked and w.grad is None for w in made.parameters())
    assert not made.training


def test_crafting_works_where_gradients_are_off(tiny):
    with torch.no_grad():
        off = left_by(tiny)
    assert torch.equal(off.train.x, left_by(tiny).train.x)


# --- crop and flip ------------------------------------------------------------------------------


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (2, -1), (-2, 2)])
def test_moves_by_whole_pixels_are_those_of_the_datas_augmentation(dy, dx, flip):
    x, way = images(3, 2, 8, 6), -1.0 if flip else 1.0
    flips = torch.full((3,), flip)
    there = torch.full((3,), dy + 2), torch.full((3,), dx + 2)
    expected = CropFlip(2, 0.5).apply(x, *there, flips)
    found = moved(x, *(torch.full((3,), float(v)) for v in (dy, dx, way)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_half_a_pixel_is_the_mean_of_two():
    x = torch.tensor([0.0, 1, 0, 0]).view(1, 1, 1, 4)
    found = moved(x, torch.zeros(1), torch.tensor([0.5]), torch.ones(1))
    torch.testing.assert_close(found.flatten(), torch.tensor([0.5, 0.5, 0, 0]))


def test_moves_and_flips_are_drawn_within_what_was_asked():
    dy, dx, way = Shift(2, 0.25).draw(4000, torch.Generator().manual_seed(0))
    assert 1.9 < max(dy.abs().max(), dx.abs().max()) <= 2
    assert (way == -1).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert set(way.tolist()) == {1, -1}


# --- the poison ---------------------------------------------------------------------------------


def test_labels_stay_and_only_rows_of_the_intended_classes_change(tiny):
    left = left_by(tiny, pairs=[[1, 3], [4, 2]])  # test images of class 1 and 0
    assert torch.equal(left.train.y, tiny.train.y)
    assert torch.equal(left.truth, tiny.train.y)
    changed = (left.train.x != tiny.train.x).flatten(1).any(1).nonzero().squeeze(1)
    assert torch.equal(changed, left.indices)
    assert tiny.train.y[left.indices].bincount().tolist() == [0, 0, 6, 6]  # 0.2 of 60, halved
    assert (left.train.x.int() - tiny.train.x.int()).abs().max() <= 16


def test_images_stored_as_floats_stay_within_the_bound(tiny):
    clear = replace(tiny, train=replace(tiny.train, x=as_float(tiny.train.x)))
    left = left_by(clear)
    assert (left.train.x - clear.train.x).abs().max() <= 16 / 255 + 1e-7
    assert left.train.x.min() >= 0
    assert left.train.x.max() <= 1


def test_pairs_of_one_class_share_no_row(tiny):
    left = left_by(tiny, pairs=[[1, 3], [4, 3]])
    assert len(left.indices) == len(left.indices.unique()) == 12


def test_targets_are_left_out_of_the_other_test_images(tiny):
    left = left_by(tiny, pairs=[[1, 3], [4, 2]])
    assert left.probes["targets"].loader.rows.tolist() == [1, 4]
    assert left.probes["test"].loader.rows.tolist() == [0, 2, 3, *range(5, 24)]


def test_drawn_pairs_are_test_images_with_another_class(tiny):
    for seed in range(20):
        pairs = attack(targets=5, seed=seed).drawn(tiny)
        assert len({row for row, _ in pairs}) == 5
        assert all(tiny.test.y[row] != c and c in range(4) for row, c in pairs)
        assert attack(targets=3, seed=seed).drawn(tiny) == pairs[:3]


def test_same_seed_same_bits_and_another_seed_others(tiny):
    first, second, other = (left_by(tiny, seed=s).train.x for s in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


class Counting(Remembered):
    """Counts what is worked out, and is killed at the `killed`-th piece."""

    def __init__(self, folder, killed=None):
        super().__init__(Store(folder), "here")
        self.worked, self.killed = 0, killed

    def tensors(self, work, net, loaders, compute):
        def counted():
            if self.worked == self.killed:
                raise KeyboardInterrupt
            self.worked += 1
            return compute()

        return super().tensors(work, net, loaders, counted)


def test_crafting_is_looked_up_the_second_time(tiny, tmp_path):
    first, second = Counting(tmp_path), Counting(tmp_path)
    assert torch.equal(left_by(tiny, first).train.x, left_by(tiny, second).train.x)
    assert (first.worked, second.worked) == (4, 0)  # two targets with two restarts each


def test_a_killed_crafting_goes_on_at_the_restart_it_was_in(tiny, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        left_by(tiny, Counting(tmp_path, killed=3))
    rest = Counting(tmp_path)
    assert torch.equal(left_by(tiny, rest).train.x, left_by(tiny).train.x)
    assert rest.worked == 1


def test_more_restarts_add_to_those_that_are_done(tiny, tmp_path):
    left_by(tiny, Counting(tmp_path))
    more = Counting(tmp_path)
    left_by(tiny, more, restarts=3)
    assert more.worked == 2


CHANGES = {"eps": 0.1, "steps": 4, "tau": 0.2, "batch": 5, "match": "full", "shift": 0, "flip": 0}


@pytest.mark.parametrize("name", CHANGES)
def test_other_settings_are_crafted_anew(tiny, tmp_path, name):
    left_by(tiny, Counting(tmp_path), targets=1, restarts=1)
    again = Counting(tmp_path)
    left_by(tiny, again, targets=1, restarts=1, **{name: CHANGES[name]})
    assert again.worked == 1


def test_the_restart_that_matches_best_is_kept(tiny):
    class Told(Memo):
        def tensors(self, work, net, loaders, compute):
            r = work.what["restart"]
            delta = torch.full((12, 3, 12, 12), (r + 1) / 255)
            return {"delta": delta, "losses": torch.tensor([0, (0.7, 0.2, 0.5)[r]])}, 0.0

    dark = replace(tiny, train=replace(tiny.train, x=torch.zeros_like(tiny.train.x)))
    left = left_by(dark, Told(), targets=1, restarts=3)
    assert (left.train.x[left.indices] == 2).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"eps": 0}, r"poison\.eps=0 is not in \(0, 1\]"),
        ({"eps": 16}, r"poison\.eps=16 is not in \(0, 1\]"),
        ({"rate": 2}, r"poison\.rate=2 "),
        ({"targets": 0}, r"poison\.targets=0 attacks nothing"),
        ({"restarts": 0}, r"poison\.restarts=0 crafts nothing"),
        ({"steps": 0}, r"poison\.steps=0 crafts nothing"),
        ({"tau": 0}, r"poison\.tau=0 must be positive"),
        ({"batch": 0}, r"poison\.batch=0 must be at least 1"),
        ({"match": "half"}, r"poison\.match=half is unknown; choose per_batch or full"),
        ({"shift": -1}, r"poison\.shift=-1 pixels is negative"),
        ({"flip": 2}, r"poison\.flip=2 is not a probability"),
        ({"pairs": []}, r"poison\.pairs=\[\] is no list of pairs"),
        ({"pairs": [[1, 2, 3]]}, r"is no list of pairs"),
    ],
)
def test_bad_settings_are_refused(change, sentence):
    with pytest.raises(BadInput, match=sentence):
        attack(**change)


def test_pairs_that_are_no_lists_are_refused():
    with pytest.raises(BadInput, match="is no list of pairs"):
        attack(pairs=[7, 3])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pairs": [[1, 1]]}, "test image 1 and class bee, which is its true class"),
        ({"pairs": [[24, 1]]}, "test image 24 and class bee, but the test images go from 0 to 23"),
        ({"pairs": [[1, 4]]}, "poison.pairs=4 does not exist: the data set has classes 0 to 3"),
        ({"pairs": [[1, 2], [1, 3]]}, "names a test image twice"),
        ({"targets": 25}, "poison.targets=25, but there are 24 test images"),
        ({"rate": 0.6, "pairs": [[1, 2]]}, "takes 36 samples of class cat .* but 15 are left"),
        ({"rate": 0.4, "pairs": [[1, 2], [3, 2]]}, "takes 12 samples .* target 3, but 3 are left"),
        ({"rate": 0.02}, "is 1, too few for 2 targets"),
    ],
)
def test_what_does_not_fit_the_data_is_refused_before_a_surrogate_is_trained(
    tiny, change, sentence
):
    def never():
        raise AssertionError("a surrogate was trained")

    with pytest.raises(BadInput, match=sentence):
        attack(**change).poison(tiny, Surrogate(never))


def test_data_that_are_no_images_are_refused(tiny):
    with pytest.raises(BadInput, match="no images"):
        attack().poison(replace(tiny, facts={}), surrogate())


# --- what becomes of the targets ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(0, 1, 0, 0.7935), (1, 1, 0.2065, 1), (5, 10, 0.2366, 0.7634), (8, 10, 0.4902, 0.9433)],
)
def test_wilsons_bounds(k, n, low, high):
    assert wilson(k, n) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_bounds_hold_the_share_and_mirror(kn):
    k, n = kn
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert (1 - high, 1 - low) == pytest.approx(wilson(n - k, n))


class Tells(nn.Module):
    """Answers what it is told to, whatever it is shown."""

    def __init__(self, told):
        super().__init__()
        self.told = told

    def forward(self, x):
        return nn.functional.one_hot(torch.tensor(self.told), 4).float()


def test_the_three_outcomes_of_targets(tiny):
    left = left_by(tiny, pairs=[[1, 3], [4, 2], [2, 0]])  # of class 1, 0 and 2
    told = measure(Tells([3, 0, 3]), {"targets": left.probes["targets"]})
    third = pytest.approx(1 / 3)
    assert [told[f"targets/{name}"] for name in ("intended", "true", "other")] == [third] * 3
    assert [told[f"targets/intended/{k}"] for k in range(3)] == [1, 0, 0]
    assert [told[f"targets/true/{k}"] for k in range(3)] == [0, 1, 0]
    assert (told["targets/intended_low"], told["targets/intended_high"]) == wilson(1, 3)


VERDICT = Targeted("targets/intended", "targets/true", "test/accuracy", 4)


def told(intended, true=0.0, test=0.9):
    return {"targets/intended": intended, "targets/true": true, "test/accuracy": test}


def test_healed_is_the_share_of_hit_targets_that_are_hit_no_more():
    found = VERDICT(told(0.75), told(0.25, true=0.5, test=0.8))
    assert found["residual"] == pytest.approx(1 / 3)
    assert found["healed"] == pytest.approx(2 / 3)
    assert found["healed_raw"] == found["harmed_accuracy"] == 0.5
    assert found["accuracy_drop"] == pytest.approx(0.1)
    assert (found["attack_success_before"], found["attack_success"]) == (0.75, 0.25)
    assert objective(found) == pytest.approx(2 / 3 - 0.1)


def test_an_attack_that_did_not_succeed_leaves_nothing_to_heal():
    found = VERDICT(told(0.0, true=1.0), told(0.25), told(0.0))
    assert found["healed"] is found["residual"] is found["recovered"] is None


def test_beside_a_net_that_never_saw_the_poison_what_could_heal_counts():
    found = VERDICT(told(0.75), told(0.5), told(0.25, true=0.75, test=0.95))
    assert found["recovered"] == pytest.approx(0.5)
    assert found["attack_success_floor"] == 0.25
    assert (found["clean_accuracy_ceiling"], found["harmed_accuracy_ceiling"]) == (0.95, 0.75)


def test_every_number_of_its_verdict_is_in_the_table():
    assert {*VERDICT(told(1.0), told(0.0), told(0.0))} - {"residual"} <= table().keys()


# --- end to end ---------------------------------------------------------------------------------


def fitted(data, epochs=12):
    """A small ResNet-9 of the digits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = ResNet9(data.num_classes, data.facts["mean"], data.facts["std"], width=0.125)
    optimizer = torch.optim.SGD(made.parameters(), 0.05, momentum=0.9)
    coin = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for b in torch.randperm(len(data.train), generator=coin).split(64):
            optimizer.zero_grad()
            x, y = as_float(data.train.x[b]), data.train.y[b]
            nn.functional.cross_entropy(made(x), y).backward()
            optimizer.step()
    return made.eval()


@pytest.fixture(scope="module")
def learned():
    """(digits, a net that knows them)"""
    torch.set_num_threads(1)
    data = digits(CropFlip(1, 0.0), upscale=2, test_share=0.2, seed=0, limit=600)
    return data, fitted(data)


def test_on_digits_the_mismatch_falls_and_a_step_of_training_moves_the_target(learned):
    data, made = learned
    rows, target = (data.train.y == 3).nonzero().squeeze(1)[:24], (data.test.y == 8).nonzero()[0]
    x, y, xt = as_float(data.train.x[rows]), data.train.y[rows], as_float(data.test.x[target])
    craft = Craft(32 / 255, 40, 0.1, 512, "full", Shift(1, 0.0))
    with crafting(made):
        found = gradient(made, xt, y[:1])
        coin = torch.Generator().manual_seed(0)
        steps = [*craft(made, found, x, y, data.facts["std"], coin)]
    assert steps[-1][1] < 0.8 * steps[0][1]

    def towards(poison):
        """How far the target's loss under the intended class falls by a step of a fixed length."""
        g = gradient(made, poison, y)
        return torch.dot(g / g.norm(), found).item()

    assert towards(x + steps[-1][0]) > towards(x)


def test_a_run_with_targets_tells_of_them(run):
    chosen = ["poison=gradient_matching", "poison.rate=0.05", "poison.targets=2"]
    quick = ["poison.restarts=1", "poison.steps=2", "unlearning=none", "ceiling=true"]
    left = run(*chosen, *quick)
    assert (left["n_targets"], left["n_poisoned"]) == (2, 30)
    for told in (left["before"], left["ceiling"]):
        assert sum(told[f"targets/{o}"] for o in ("intended", "true", "other")) == pytest.approx(1)
    again = run(*chosen, *quick)
    assert again["before"] == left["before"]
