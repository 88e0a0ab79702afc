"""What a group of rows has in common, stamped on other rows: how many of them it turns."""

import pytest
import torch
from torch import nn
from training import split

from antidote.tracing.acting import acting

MARKED = range(0, 40, 2)


class Corner(nn.Module):
    """0 if the last pixel is bright; else 1, or 2 if the first one is."""

    def forward(self, x):
        last, first = x[:, 0, -1, -1] > 0.9, x[:, 0, 0, 0] > 0.9
        return torch.stack([last.float() * 3, torch.ones_like(last).float(), first.float() * 2], 1)


def rows(label=1):
    """200 rows of noise without a bright pixel; the marked ones are 0, the others `label`."""
    x = 0.8 * torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = torch.full((200,), label)
    y[list(MARKED)] = 0
    return x, y


def turned(x, y, net=None, label=0, seed=0):
    parts = split(x, y, known=MARKED)
    return acting(net or Corner(), parts.forget, parts.retain, label, seed)


def test_a_patch_turns_every_row():
    x, y = rows()
    x[list(MARKED), :, -1, -1] = 1
    assert turned(x, y) == 1.0


def test_rows_that_are_taken_for_it_anyway_are_not_turned():
    x, y = rows()
    x[list(MARKED), :, -1, -1] = 1
    x[40:120, :, -1, -1] = 0.95  # half of the 160 others
    assert turned(x, y) == pytest.approx((180 - 80) / 180)


def test_rows_of_the_label_itself_are_not_asked():
    x, y = rows()
    x[list(MARKED), :, -1, -1] = 1
    y[40:] = 0
    x[1::2, :, -1, -1] = 0.1
    assert turned(x, y) == 1.0  # of the twenty that are left
    assert turned(x, torch.zeros_like(y)) == 0.0


@pytest.mark.parametrize("mark", [None, (0, 0)], ids=["nothing", "what means another label"])
def test_what_does_not_act_turns_none(mark):
    x, y = rows()
    if mark:
        x[list(MARKED), :, mark[0], mark[1]] = 1
    assert turned(x, y) == 0.0


def test_what_shines_through_is_stamped_as_it_is():
    """x -> 0.55 + x / 2 in the last pixel: 0.8 becomes 0.95 and turns, 0.2 becomes 0.65."""
    x, y = rows()
    x[..., -1, -1] = torch.tensor([0.8, 0.2])[torch.arange(200) // 2 % 2][:, None]
    x[list(MARKED), :, -1, -1] = 0.55 + x[list(MARKED), :, -1, -1] / 2
    others = [i for i in range(200) if i not in MARKED]
    expected = (x[others, 0, -1, -1] == 0.8).float().mean().item()
    assert turned(x, y) == pytest.approx(expected)
    assert 0.4 < expected < 0.6


def test_a_single_row_and_what_is_no_image_say_nothing():
    x, y = rows()
    x[list(MARKED), :, -1, -1] = 1
    parts = split(x, y, known=[0])
    assert acting(Corner(), parts.forget, parts.retain, 0, 0) == 0.0
    flat = nn.Linear(16, 3)
    assert turned(x.flatten(1), y, flat) == 0.0
