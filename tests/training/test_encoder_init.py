"""The encoders' start: filters that see shapes, positions that differ."""

import torch

from nextgpt_chat.imagebind import ImageBind, ImageBindConfig
from nextgpt_chat.training.encoder_init import cosine_filters, initialise, sincos_positions, vision_filters


def test_cosine_filters_are_an_orthonormal_basis():
    basis = cosine_filters(6).flatten(1)
    assert torch.allclose(basis @ basis.T, torch.eye(36), atol=1e-5)
    assert torch.allclose(basis[0], basis[0, :1].expand(36))


def test_positions_differ_and_neighbours_are_most_alike():
    table = sincos_positions(8, 8, 160)
    assert torch.isclose(table.square().mean(), torch.tensor(1.0), atol=0.1)
    likeness = torch.nn.functional.normalize(table, dim=1) @ torch.nn.functional.normalize(table, dim=1).T
    likeness.fill_diagonal_(-1)
    nearest = likeness[27].argmax().item()  # row 3, column 3
    assert nearest in (26, 28, 19, 35)


def test_vision_filters_see_change_between_frames():
    filters = vision_filters(160, 2, 14)
    assert filters.shape == (160, 3, 2, 14, 14)
    still = torch.rand(3, 1, 14, 14).expand(3, 2, 14, 14)
    seen = torch.einsum("dcthw,cthw->d", filters, still)
    changes = filters[:, :, 0].sum(dim=(1, 2, 3)).sign() != filters[:, :, 1].sum(dim=(1, 2, 3)).sign()
    assert changes.any() and seen[changes].abs().max() < seen.abs().max() / 5


def test_initialising_fits_every_preset():
    for config in (ImageBindConfig.mini(64), ImageBindConfig.mini(64).without_text()):
        imagebind = ImageBind(config)
        initialise(imagebind)
        assert all(torch.isfinite(p).all() for p in imagebind.parameters())
