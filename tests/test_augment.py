"""Random crop and flip of a batch against torchvision's, image by image."""

import torch
import torchvision.transforms.functional as TF
from hypothesis import given
from hypothesis import strategies as st

from antidote.dataset.augment import CropFlip

HEIGHT, WIDTH = 5, 7
X = torch.rand(4, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))


def draws(n, generator_seed=0, padding=2, flip=0.5):
    return CropFlip(padding, flip).draw(n, torch.Generator().manual_seed(generator_seed))


@st.composite
def places(draw):
    """Padding, and dy, dx and flip of four images."""
    padding = draw(st.integers(0, 4))
    offset = st.lists(st.integers(0, 2 * padding), min_size=4, max_size=4)
    return (
        padding,
        draw(offset),
        draw(offset),
        draw(st.lists(st.booleans(), min_size=4, max_size=4)),
    )


@given(places())
def test_each_image_is_padded_cropped_and_flipped_as_by_torchvision(place):
    padding, dy, dx, flip = place
    ours = CropFlip(padding, 0.5).apply(X, torch.tensor(dy), torch.tensor(dx), torch.tensor(flip))
    for image, found, top, left, flipped in zip(X, ours, dy, dx, flip, strict=True):
        expected = TF.crop(TF.pad(image, [padding]), top, left, HEIGHT, WIDTH)
        assert torch.equal(found, TF.hflip(expected) if flipped else expected)


def test_a_call_applies_what_it_draws():
    augment = CropFlip(2, 0.5)
    called = augment(X, torch.Generator().manual_seed(3))
    assert torch.equal(called, augment.apply(X, *augment.draw(4, torch.Generator().manual_seed(3))))


def test_all_places_are_drawn_about_equally_often():
    # 10,000 draws of 5 x 5 places: 400 each, standard deviation sqrt(400 * 0.96) = 19.6;
    # five of them are 98
    dy, dx, _ = draws(10_000)
    counts = torch.bincount(5 * dy + dx, minlength=25)
    assert len(counts) == 25
    assert (counts - 400).abs().max() < 98


def test_the_share_of_flips_is_the_setting():
    # standard deviation sqrt(0.3 * 0.7 / 10,000) = 0.0046; five of them are 0.023
    assert abs(draws(10_000, flip=0.3)[2].double().mean().item() - 0.3) < 0.023


def test_flip_0_flips_none_and_flip_1_all():
    assert not draws(1000, flip=0.0)[2].any()
    assert draws(1000, flip=1.0)[2].all()


def test_images_of_a_batch_are_moved_independently():
    dy, dx, flip = draws(100)
    assert len(dy.unique()) == len(dx.unique()) == 5
    assert len(flip.unique()) == 2
    assert not torch.equal(dy, dx)


def test_the_input_is_not_modified():
    before = X.clone()
    CropFlip(2, 1.0)(X, torch.Generator().manual_seed(0))
    assert torch.equal(X, before)
