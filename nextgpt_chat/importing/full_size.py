"""What the authors' file holds of the full-size model, by their names: for comparing with the published files.

The model itself, without its weights, is built by ``checkpoints.blueprint``.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from ..checkpoints.blueprint import blueprint
from .published import EMBEDDING, HEAD, published_name

__all__ = ["blueprint", "published_shapes"]


def published_shapes(parts: Mapping[str, nn.Module]) -> dict[str, tuple[int, ...]]:
    """What the authors' file holds of such a model: their names → shapes."""
    found: dict[str, tuple[int, ...]] = {}
    for name, tensor in parts["language_model"].state_dict().items():
        if ".lora_" in name:
            found[published_name("adapter", name.replace(".default.", "."))] = tuple(tensor.shape)
        elif (plain := name.removeprefix("base_model.model.")) in (EMBEDDING, HEAD):
            found[published_name("language_model", plain)] = tuple(tensor.shape)
    for part, module in parts.items():
        if part.endswith("_projection") or part.startswith("output_projection."):
            for name, tensor in module.state_dict().items():
                found[published_name("projections", f"{part}.{name}")] = tuple(tensor.shape)
    return found
