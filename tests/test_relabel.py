"""Relabelling: with perfect guesses it is fine-tuning on the true labels; what a batch holds."""

import copy
import logging
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from training import TRAINER, Remembering, same, split, state, victim

from antidote.core import BadInput, History, Loader, Samples, derive
from antidote.recipe import Recipe, constant, warmup_linear
from antidote.unlearning import relabel
from antidote.unlearning.guesses import Guess, Guesser, Projection
from antidote.unlearning.relabel import Relabel, Taught

CLASSES, KNOWN, RETAINED, BATCH, SEED = 3, 12, 40, 10, 5
NAN = float("nan")
PATCH = torch.zeros(1, 3, 3, dtype=torch.bool)
PATCH[:, 2, 2] = True
OTHER = PATCH.flip(1, 2)


class Saying(Guesser):
    """The guesses given, by row of the data set; keeps the rows that it was asked for."""

    def __init__(self, p, cost=0):
        self.p, self.cost, self.asked = torch.as_tensor(p), cost, []

    def __call__(self, victim, split, triggers):
        self.asked.append(split.forget.rows)
        return Guess(self.p[split.forget.rows], History([{"asked": 1.0}], self.cost))


def perfect(truth, cost=0):
    return Saying(F.one_hot(truth, CLASSES).float(), cost)


def images(n=KNOWN + RETAINED):
    """(images that differ by class, their true labels)"""
    middle = torch.rand(CLASSES, 1, 3, 3, generator=torch.Generator().manual_seed(7))
    truth = torch.arange(n) % CLASSES
    noise = torch.rand(n, 1, 3, 3, generator=torch.Generator().manual_seed(8))
    return 0.2 + 0.3 * middle[truth] + 0.3 * noise, truth


def patched(x):
    return torch.where(PATCH, 0.95, x)


def poisoned(**how):
    """(a split whose known rows are patched and labelled 0, the true labels)"""
    x, truth = images()
    x[:KNOWN], y = patched(x[:KNOWN]), truth.clone()
    y[:KNOWN] = 0
    return split(x, y, known=range(KNOWN), **how), truth


def clean_label():
    """Rows of class 2 with a patch, under their true label."""
    x, y = images(240)
    known = (y == 2).nonzero().squeeze(1)[:30]
    x[known] = patched(x[known])
    return split(x, y, known=known.tolist())


def unmarked():
    x, truth = images()
    return split(x, truth, known=range(KNOWN)), truth


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, CLASSES))


def recipe(batch_size=BATCH, lr=0.1, schedule=constant, **momentum):
    sgd = partial(torch.optim.SGD, lr=lr, **momentum)
    return Recipe(sgd, schedule, batch_size, epochs=1)


def method(guess, **changes):
    chosen = {
        "share": 0.3,
        "stamped": 0.0,
        "confident": 1.0,
        "passes": 1.0,
        "least": 0,
        "rounds": 1,
        "recipe": recipe(),
        "make_trainer": TRAINER,
        "hold_out": 0.0,
        "seed": SEED,
    }
    return Relabel(guess, **chosen | changes)


@pytest.fixture
def batches(monkeypatch):
    """The batches of all steps, as the loss gets them."""
    seen, loss = [], Taught.loss

    def spy(self, net, batch, *teachers):
        seen.append(tuple(t.clone() for t in batch))
        return loss(self, net, batch, *teachers)

    monkeypatch.setattr(Taught, "loss", spy)
    return seen


def mixture(world, truth, steps, room, round=0):
    """The steps' batches as a plain loop over the two parts makes them, labels all true."""
    seed = derive(SEED, f"round {round}")
    samples = Samples(world.retain.samples.x, truth)
    how = {"shuffle": True, "join": True}
    rest = Loader(samples, world.retain.rows, room, seed=derive(seed, "unlearn"), **how)
    poison = Loader(samples, world.forget.rows, BATCH - room, seed=derive(seed, "poison"), **how)

    def endless(loader):
        while True:
            yield from loader

    parts = endless(rest), endless(poison)
    pairs = [(next(parts[0]), next(parts[1])) for _ in range(steps)]
    return [tuple(torch.cat(part) for part in zip(*pair, strict=True)) for pair in pairs]


def fitted(patient, batches, optimizer, schedule=None):
    """Cross-entropy, step by step, in plain torch."""
    for x, y in batches:
        optimizer.zero_grad()
        loss = -patient(x).log_softmax(1)[torch.arange(len(y)), y].mean()
        loss.backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
    return patient


def assert_close(a, b):
    for name, w in a.state_dict().items():
        torch.testing.assert_close(w, b.state_dict()[name], rtol=0, atol=1e-6)


def test_a_step_with_perfect_guesses_is_one_on_a_hand_mixed_batch_with_true_labels():
    x, truth = images(10)
    x[:3], y = patched(x[:3]), truth.clone()
    y[:3] = 0
    world, patient = split(x, y, known=range(3)), victim(net())
    expected = copy.deepcopy(patient.net)
    # 7 retained and 3 known rows are all there are, so one step sees each of them
    method(perfect(truth)).unlearn(patient, world)
    loss = -expected(x).log_softmax(1)[torch.arange(10), truth].mean()
    gradients = torch.autograd.grad(loss, list(expected.parameters()))
    with torch.no_grad():
        for w, g in zip(expected.parameters(), gradients, strict=True):
            w -= 0.1 * g
    assert_close(patient.net, expected)


def test_with_perfect_guesses_it_is_fine_tuning_on_the_true_labels(batches):
    """Batch by batch, and weight by weight, with momentum, decay and a schedule that falls."""
    world, truth = poisoned()
    patient = victim(net())
    momentum = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    falling = partial(warmup_linear, warmup=0.0, stretch=1.0)
    chosen = recipe(schedule=falling, **momentum)
    expected = copy.deepcopy(patient.net)
    method(perfect(truth), recipe=chosen, passes=2.5).unlearn(patient, world)
    # 40 rows in batches of 7 are 6 a pass, the last of 5
    mixed = mixture(world, truth, steps=15, room=7)
    assert len(batches) == 15
    for seen, made in zip(batches, mixed, strict=True):
        assert all(map(torch.equal, seen, made))
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.1, **momentum)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 - t / 15)
    assert_close(patient.net, fitted(expected, mixed, optimizer, schedule))


def rows_of(x, world):
    """Which row of the data set each image is; -1 for none."""
    samples = world.forget.samples.x.flatten(1)
    same = (x.flatten(1)[:, None] == samples[None]).all(2)
    return torch.where(same.any(1), same.double().argmax(1), -1)


def test_a_batch_holds_the_share_of_poison_under_guessed_labels(batches):
    world, truth = poisoned()
    method(perfect(truth)).unlearn(victim(net()), world)
    for x, y in batches[:-1]:
        rows = rows_of(x, world)
        assert len(rows) == BATCH
        assert torch.isin(rows, world.forget.rows).sum() == 3
        assert torch.equal(y, truth[rows])


def test_stamped_rows_are_retained_ones_that_keep_their_labels(batches):
    world, truth = poisoned()
    method(perfect(truth), stamped=0.2).unlearn(victim(net()), world)
    for x, y in batches[:-1]:
        rows = rows_of(x, world)
        stamped = rows == -1
        assert torch.equal(stamped.nonzero().squeeze(1), torch.arange(2))
        assert torch.isin(rows[2:7], world.retain.rows).all()
        assert torch.isin(rows[7:], world.forget.rows).all()
        assert torch.equal(y[2:], truth[rows[2:]])
        torch.testing.assert_close(x[:2][:, PATCH], torch.full((2, 1), 0.95))


def test_a_stamp_changes_no_label(batches):
    """Against the same run without stamps, whose retained rows come in the same order."""
    world, truth = poisoned()
    method(perfect(truth)).unlearn(victim(net()), world)
    without = [y for _, y in batches]
    batches.clear()
    method(perfect(truth), stamped=0.2).unlearn(victim(net()), world)
    assert all(map(torch.equal, without, [y for _, y in batches]))


def test_any_share_is_at_least_a_row(batches):
    world, truth = poisoned()
    method(perfect(truth), share=0.01).unlearn(victim(net()), world)
    x, _ = batches[0]
    assert len(x) == BATCH
    assert torch.isin(rows_of(x, world), world.forget.rows).sum() == 1


def test_all_of_the_poison_comes_in_turn(batches):
    world, truth = poisoned()
    method(perfect(truth), passes=4 / 6).unlearn(victim(net()), world)
    rows = torch.cat([rows_of(x, world)[7:] for x, _ in batches])
    assert torch.equal(rows.sort().values, world.forget.rows)


@pytest.mark.parametrize(
    ("passes", "least", "steps"),
    [(1.0, 0, 6), (0.5, 0, 3), (2.0, 5, 12), (0.5, 20, 20), (0.01, 0, 1)],
)
def test_the_length_is_in_passes_over_the_retained_rows_or_the_least(passes, least, steps):
    world, truth = poisoned()
    trainer = Remembering()
    chosen = method(perfect(truth), passes=passes, least=least, make_trainer=trainer)
    chosen.unlearn(victim(net()), world)
    assert trainer.steps == steps


def test_the_guesser_is_asked_once_and_then_the_net_itself(batches, monkeypatch):
    world, truth = poisoned()
    patient, guess, own = victim(net()), perfect(truth), []

    def spied(net, loader):
        """A label that neither the truth nor the guesser gives."""
        own.append(state(net))
        return 9.0 * F.one_hot((truth[loader.rows] + 1) % CLASSES, CLASSES)

    monkeypatch.setattr(relabel, "logits", spied)
    method(guess, rounds=3, passes=3.0).unlearn(patient, world)
    assert len(guess.asked) == 1
    assert len(own) == 2
    assert len(batches) == 18  # a pass each
    for i, (x, y) in enumerate(batches):
        rows = rows_of(x, world)
        known = torch.isin(rows, world.forget.rows)
        taught = truth[rows] if i < 6 else (truth[rows] + 1) % CLASSES
        assert torch.equal(y[known], taught[known])
        assert torch.equal(y[~known], truth[rows[~known]])
    assert not same(own[0], own[1])  # each time the net as it is by then


def test_what_the_net_guesses_anew_is_what_it_answers(batches):
    world, truth = poisoned()
    patient, before = victim(net()), []
    chosen = method(perfect(truth), rounds=2, passes=2.0)
    taught = chosen.taught

    def spy(poison, guess, triggers, round):
        x = poison.samples.x[poison.rows]
        with torch.no_grad():
            before.append((guess.p, patient.net(x).softmax(1)))
        return taught(poison, guess, triggers, round)

    chosen.taught = spy
    chosen.unlearn(patient, world)
    torch.testing.assert_close(before[1][0], before[1][1])


def test_each_round_draws_anew(batches):
    world, truth = poisoned()
    method(perfect(truth), rounds=2, passes=2.0).unlearn(victim(net()), world)
    first, second = (
        rows_of(torch.cat([x[:7] for x, _ in batches[i : i + 6]]), world) for i in (0, 6)
    )
    assert not torch.equal(first, second)


def test_a_method_can_be_used_twice_with_the_same_result():
    world, truth = poisoned()
    chosen = method(perfect(truth), stamped=0.2, rounds=2, least=10, hold_out=0.2)
    nets = [victim(net()) for _ in range(2)]
    first, second = (chosen.unlearn(patient, world) for patient in nets)
    assert same(state(nets[0].net), state(nets[1].net))
    assert first == second


def test_the_seed_decides_the_batches(batches):
    world, truth = poisoned()
    for seed in (0, 1):
        method(perfect(truth), seed=seed, passes=0.1).unlearn(victim(net()), world)
    assert not torch.equal(batches[0][0], batches[1][0])


def test_the_split_stays_as_it_was():
    world, truth = poisoned()
    y, forget, retain = (
        t.clone() for t in (world.forget.samples.y, world.forget.rows, world.retain.rows)
    )
    method(perfect(truth), stamped=0.2).unlearn(victim(net()), world)
    assert torch.equal(world.forget.samples.y, y)
    assert torch.equal(world.forget.rows, forget)
    assert torch.equal(world.retain.rows, retain)


def test_held_out_rows_are_in_no_batch_and_choose_the_checkpoint(batches):
    world, truth = poisoned()
    history = method(perfect(truth), hold_out=0.25, passes=3.0).unlearn(victim(net()), world)
    seen = torch.cat([rows_of(x, world) for x, _ in batches]).unique()
    assert torch.isin(seen, world.retain.rows).sum() == 30
    assert all("held_out_accuracy" in step for step in history.steps[2:])


def test_only_the_surest_guesses_are_taken(batches):
    world, truth = poisoned()
    p = torch.full((KNOWN + RETAINED, CLASSES), 0.0)
    sure = 0.4 + 0.05 * torch.randperm(KNOWN, generator=torch.Generator().manual_seed(2))
    p[:KNOWN] = ((1 - sure) / 2)[:, None]
    p[torch.arange(KNOWN), truth[:KNOWN]] = sure
    method(Saying(p), confident=0.25, passes=2.0).unlearn(victim(net()), world)
    rows = torch.cat([rows_of(x, world)[-3:] for x, _ in batches]).unique()
    assert torch.equal(rows, sure.topk(3).indices.sort().values)
    assert all(torch.equal(y[-3:], truth[rows_of(x, world)[-3:]]) for x, y in batches)


def test_a_row_without_a_guess_is_in_no_batch(batches):
    world, truth = poisoned()
    p = F.one_hot(truth, CLASSES).float()
    p[:9] = NAN
    method(Saying(p), passes=2.0).unlearn(victim(net()), world)
    rows = torch.cat([rows_of(x, world)[-3:] for x, _ in batches]).unique()
    assert rows.tolist() == [9, 10, 11]


def test_where_nothing_is_guessed_retained_rows_are_stamped_instead(batches):
    world, _ = poisoned()
    nothing = Saying(torch.full((KNOWN + RETAINED, CLASSES), NAN))
    method(nothing).unlearn(victim(net()), world)
    for x, _ in batches[:-1]:
        rows = rows_of(x, world)
        assert (rows == -1).tolist() == [True] * 3 + [False] * 7
        assert not torch.isin(rows, world.forget.rows).any()


def test_history_counts_all_rows_of_all_batches_and_what_guessing_took(batches):
    world, truth = poisoned()
    chosen = method(perfect(truth, cost=1000), rounds=2, passes=2.0)
    history = chosen.unlearn(victim(net()), world)
    assert history.sample_gradients == 1000 + sum(len(y) for _, y in batches)
    assert sum("asked" in step for step in history.steps) == 1


def test_history_tells_what_guesses_and_triggers_look_like():
    world, truth = poisoned()
    told = method(perfect(truth)).unlearn(victim(net()), world).steps[0]
    assert told["triggers"] == 1
    assert told["trigger_size"] > 0
    assert told["confidence"] == 1
    usual = torch.bincount(truth[KNOWN:]) / RETAINED
    chance = (2 / torch.pi * usual * (1 - usual) / KNOWN).sqrt()
    beyond = 0.5 * ((usual - 1 / 3).abs() - chance).sum().item()
    assert told["crowding"] == pytest.approx(max(beyond, 0), abs=1e-6)


def test_poison_under_its_true_label_is_left_out_and_stamps_take_its_place(batches):
    world, guess = clean_label(), Saying(torch.full((240, CLASSES), NAN))
    method(guess).unlearn(victim(net()), world)
    assert not guess.asked  # there is nothing to guess
    y = world.forget.samples.y
    for x, labels in batches[:-1]:
        rows = rows_of(x, world)
        assert len(rows) == BATCH
        assert (rows == -1).tolist() == [True] * 3 + [False] * 7
        assert torch.isin(rows[3:], world.retain.rows).all()
        assert torch.equal(labels[3:], y[rows[3:]])
        torch.testing.assert_close(x[:3][:, PATCH], torch.full((3, 1), 0.95))
    assert len({label for _, labels in batches for label in labels[:3].tolist()}) == CLASSES


def test_of_two_triggers_only_the_rows_under_wrong_labels_are_guessed():
    x, truth = images(240)
    clean = (truth == 2).nonzero().squeeze(1)[:30]
    wrong = (truth < 2).nonzero().squeeze(1)[:30]
    y = truth.clone()
    x[clean], x[wrong], y[wrong] = patched(x[clean]), torch.where(OTHER, 0.95, x[wrong]), 0
    world = split(x, y, known=[*clean.tolist(), *wrong.tolist()])
    guess = perfect(truth)
    method(guess).unlearn(victim(net()), world)
    assert len(guess.asked) == 1
    assert torch.equal(guess.asked[0], wrong)


def test_restamping_asks_no_guesser(batches):
    world, truth = poisoned()
    guess = perfect(truth)
    history = method(guess, share=0.0, stamped=0.3).unlearn(victim(net()), world)
    assert not guess.asked
    assert history.steps[0]["confidence"] == 0
    assert all((rows_of(x, world) == -1).sum() == 3 for x, _ in batches[:-1])


def test_where_no_trigger_is_seen_restamping_is_fine_tuning_and_says_so(batches, caplog):
    world, truth = unmarked()
    with caplog.at_level(logging.WARNING):
        method(perfect(truth), share=0.0, stamped=0.3).unlearn(victim(net()), world)
    assert "no trigger is to be seen" in caplog.text
    rows = torch.cat([rows_of(x, world) for x, _ in batches])
    assert torch.equal(rows.sort().values, world.retain.rows)
    assert all(torch.equal(y, truth[rows_of(x, world)]) for x, y in batches)


def test_a_trigger_that_comes_after_augmentation_is_stamped_after_it(batches):
    """The poison's own is put on by the loader's view, as training saw it."""
    x, truth = images()
    y = truth.clone()
    y[:KNOWN] = 0
    flip = {"augment": lambda x, coin: x.flip(3)}
    view = {"view": lambda x, rows: torch.where((rows < KNOWN)[:, None, None, None], patched(x), x)}
    world = split(x, y, known=range(KNOWN), **flip, **view)
    method(perfect(truth), stamped=0.2).unlearn(victim(net()), world)
    corner = [x[:, PATCH].squeeze(1) for x, _ in batches[:-1]]
    for bright in corner:
        torch.testing.assert_close(bright[[0, 1, 7, 8, 9]], torch.full((5,), 0.95))
        assert (bright[2:7] < 0.9).all()


def test_a_method_is_checked_with_its_guesser():
    twins = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(BadInput, match="2 linear layers"):
        method(Projection(None)).check(twins)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"share": -0.1}, "share=-0.1"),
        ({"share": 0.0, "stamped": 0.0}, "must leave room"),
        ({"share": 0.6, "stamped": 0.4}, "must leave room"),
        ({"stamped": -0.1}, "stamped=-0.1"),
        ({"confident": 0.0}, r"confident=0.0 is not in \(0, 1\]"),
        ({"confident": 1.1}, "confident=1.1"),
        ({"passes": 0}, "passes=0 must be positive"),
        ({"rounds": 0}, "rounds=0 must be at least 1"),
        ({"hold_out": 1.0}, "hold_out=1.0"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(setting, sentence):
    with pytest.raises(BadInput, match=sentence) as refusal:
        method(None, **setting)
    assert "\n" not in str(refusal.value)
