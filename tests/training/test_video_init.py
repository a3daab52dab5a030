import torch

from nextgpt_chat.training import diffusion, video_init


def tiny_unet():
    torch.manual_seed(0)
    return diffusion.video_unet((32, 32), 16).eval()


def added_by_first_layer(unet, hidden, frames):
    layer = unet.down_blocks[0].temp_convs[0]
    with torch.no_grad():
        return (layer(hidden, num_frames=frames) - hidden).unflatten(0, (-1, frames))


def test_a_fresh_video_unet_cannot_tell_its_frames_apart_until_they_are_shown():
    unet = tiny_unet()
    hidden = torch.randn(16, 32, 4, 4)
    assert added_by_first_layer(unet, hidden, 8).abs().max() == 0
    video_init.show_frames(unet)
    added = added_by_first_layer(unet, hidden, 8)
    marks = added[0, :, :, 0, 0]
    distances = torch.cdist(marks, marks) + torch.eye(8)
    distances[3, 4] = distances[4, 3] = 1  # those in the middle are alike
    assert distances.min() > 0.05
    assert 0.1 < added.square().mean().sqrt() < 1


def test_the_marks_do_not_depend_on_what_is_seen():
    unet = tiny_unet()
    video_init.show_frames(unet)
    one, other = (added_by_first_layer(unet, torch.randn(8, 32, 4, 4), 8) for _ in range(2))
    assert torch.allclose(one, other, atol=1e-5)
    assert torch.allclose(one, one[..., :1, :1].expand_as(one), atol=1e-5)


def test_the_marks_of_the_last_frames_are_not_those_of_the_first():
    unet = tiny_unet()
    video_init.show_frames(unet)
    marks = added_by_first_layer(unet, torch.randn(8, 32, 4, 4), 8)[0, :, :, 0, 0]
    even, odd = (marks + marks.flip(0)) / 2, (marks - marks.flip(0)) / 2
    assert even.norm() > 0.1 and odd.norm() > 0.1


def test_a_video_unet_takes_the_image_unets_spatial_layers():
    image = diffusion.image_unet((32, 32), 16)
    video = tiny_unet()
    taken = video_init.inflate(image, video)
    assert taken == len(image.state_dict())
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    assert torch.equal(video.state_dict()[name], image.state_dict()[name])
    assert video.transformer_in.proj_out.weight.abs().max() == 0


def test_dropout_is_off_in_every_layer():
    unet = tiny_unet()
    assert any(m.p > 0 for m in unet.modules() if isinstance(m, torch.nn.Dropout))
    video_init.without_dropout(unet)
    assert all(m.p == 0 for m in unet.modules() if isinstance(m, torch.nn.Dropout))
