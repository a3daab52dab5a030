"""An exact speed-up of the temporal convolutions in a video UNet."""

from __future__ import annotations

import torch
from torch import nn


class TemporalConv3d(nn.Conv3d):
    """A (k, 1, 1) convolution over (B, C, frames, H, W), computed as a 2-d one over (B, C, frames, H·W).

    Same parameters and same result as ``nn.Conv3d``, whose CPU kernels take 1.5 to 2 times as long for this shape at
    the batch of two that guidance makes.
    """

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        height, width = hidden.shape[-2:]
        mixed = nn.functional.conv2d(
            hidden.flatten(3),
            self.weight.squeeze(-1),
            self.bias,
            stride=(self.stride[0], 1),
            padding=(self.padding[0], 0),
            dilation=(self.dilation[0], 1),
            groups=self.groups,
        )
        return mixed.unflatten(3, (height, width))


def _is_temporal(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv3d
        and module.kernel_size[1:] == (1, 1)
        and module.stride[1:] == (1, 1)
        and not isinstance(module.padding, str)
        and module.padding[1:] == (0, 0)
        and module.padding_mode == "zeros"
    )


def fast_temporal_convolutions(unet: nn.Module) -> int:
    """Makes every (k, 1, 1) convolution of ``unet`` run as ``TemporalConv3d``, in place; returns how many.

    Parameters keep their names, shapes and identity, so optimizers, EMA copies and saved files do not notice.
    Calling it again changes nothing.
    """
    found = [module for module in unet.modules() if _is_temporal(module)]
    for module in found:
        module.__class__ = TemporalConv3d
    return len(found)
