"""How the video UNet begins: it draws as the image UNet does, and it knows which frame is which.

A ``UNet3DConditionModel`` has no frame positions: its temporal attention is blind to order, and its convolutions over
time feel it at the zero padding only. What tells rising from falling is order alone, and it was learned last: after
1,300 steps without ``show_frames`` 38 % of held-out motions were right, most others the same way back, and with the
opposite caption a noisy training clip was restored as well as with its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

ORDER_STRENGTH = 0.4
"""Root mean square of what ``show_frames`` adds to hidden states whose own is about 1.2."""


def inflate(image: nn.Module, video: nn.Module) -> int:
    """Start the video UNet's spatial layers from the trained image UNet's; returns how many tensors were taken.

    Linear projections of the one are 1 × 1 convolutions of the other. Temporal transformers start as the identity.
    """
    source, target = image.state_dict(), video.state_dict()
    taken = {}
    for name, value in source.items():
        if name in target and target[name].numel() == value.numel():
            taken[name] = value.reshape(target[name].shape)
    video.load_state_dict({**target, **taken})
    for name, parameter in video.named_parameters():
        if ("temp_attentions" in name and "proj_out" in name) or "transformer_in.proj_out" in name:
            nn.init.zeros_(parameter)
    return len(taken)


@torch.no_grad()
def show_frames(video: nn.Module) -> None:
    """Make the first convolutions over time add to all hidden states how far a frame is from the middle, with its sign
    and without, each in a random direction.

    Only weights are set, those of one normalisation group: a constant, whose differences at the zero padding mark the
    first and the last frame, summed over neighbours twice. Training is free to change them.
    """
    layer = video.down_blocks[0].temp_convs[0]
    convolutions = [sequence[-1] for sequence in (layer.conv1, layer.conv2, layer.conv3, layer.conv4)]
    norms = [sequence[0] for sequence in (layer.conv2, layer.conv3, layer.conv4)]
    group = norms[0].num_channels // norms[0].num_groups
    signs = torch.tensor([1.0, -1.0]).repeat(group)[:group]

    def tell(convolution: nn.Module, kernel: tuple[float, float, float] | None, bias: Tensor | float = 0.0) -> None:
        """The group's outputs: ``kernel`` over the signal x, which is SiLU(x) − SiLU(−x) of its first two channels."""
        convolution.weight[:group] = 0
        convolution.bias[:group] = bias
        if kernel is not None:
            taps = signs[:, None] * torch.tensor(kernel)
            convolution.weight[:group, 0, :, 0, 0], convolution.weight[:group, 1, :, 0, 0] = taps, -taps

    for norm in norms:
        norm.weight[:group], norm.bias[:group] = 1, 0
    tell(convolutions[0], None, signs)
    tell(convolutions[1], (1.0, 0.0, -1.0))
    tell(convolutions[2], (1.0, 2.0, 1.0))
    ramp, bump = torch.randn(2, convolutions[3].out_channels) * ORDER_STRENGTH / 3
    taps = torch.tensor([1.0, 2.0, 1.0])
    # The sum of both channels, SiLU(x) + SiLU(−x), is even in x: large at both ends.
    convolutions[3].weight[:, 0, :, 0, 0] = (ramp + bump)[:, None] * taps
    convolutions[3].weight[:, 1, :, 0, 0] = (bump - ramp)[:, None] * taps


def without_dropout(video: nn.Module) -> None:
    """Turn off the dropout that diffusers builds into every convolution over time (0.1): a model this small, trained
    for minutes, does not overfit."""
    for module in video.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
