"""ImageBind's vision, audio and text towers, with the parameter names of the published ``imagebind_huge.pth``.

Girdhar et al., "ImageBind: One Embedding Space To Bind Them All" (2023), as used by NExT-GPT: embeddings have unit
length, and the audio tower's fixed logit scale is not applied. Depth, thermal and IMU towers are left out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..content import Media
from .config import ImageBindConfig
from .preprocess import preprocess
from .trunk import NORM_EPS, Trunk

AUDIO_LOGIT_SCALE = 20.0
TEXT_LOGIT_SCALE = 1 / 0.07
MAX_LOGIT_SCALE = 100.0
MODALITY_OF_KIND = {"image": "vision", "audio": "audio", "video": "vision"}  # media kind: tower


class _Positions(nn.Module):
    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(1, count, width) * width**-0.5)


class _PatchTokens(nn.Module):
    """Class token, then patches, with learned positions. Subclasses cut the patches."""

    def __init__(self, patches: int, width: int, stem: nn.Module) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * width**-0.5)
        self.rgbt_stem = stem
        self.pos_embedding_helper = _Positions(patches + 1, width)

    def _with_class_token(self, patches: Tensor) -> Tensor:
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        return tokens + self.pos_embedding_helper.pos_embed


class _VisionTokens(_PatchTokens):
    def __init__(self, config: ImageBindConfig) -> None:
        patch, frames = config.patch_size, config.frames_per_clip
        kernel = (frames, patch, patch)
        # The first place is for a parameterless step in the published model (a picture repeated to make a clip).
        stem = nn.Module()
        stem.proj = nn.Sequential(nn.Identity(), nn.Conv3d(3, config.vision_width, kernel, stride=kernel, bias=False))
        super().__init__(config.vision_patches, config.vision_width, stem)
        self.shape = (3, frames, config.image_size, config.image_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), standing for clips of equal frames, or clips (B, 3, T, H, W): (B, 1 + patches, D).

        Patches do not overlap, so the convolution is one matrix product; for pictures over the summed frames' weights.
        """
        weight = self.rgbt_stem.proj[1].weight
        size = self.shape[-1]
        is_picture = pixels.ndim == 4
        expected = (3, size, size) if is_picture else self.shape
        if tuple(pixels.shape[1:]) != expected:
            raise ValueError(f"pixels must be (B, {', '.join(map(str, expected))}), not {tuple(pixels.shape)}")
        if is_picture:
            pixels, weight = pixels[:, :, None], weight.sum(2, keepdim=True)
        patch = weight.shape[-1]
        grid = pixels.unflatten(3, (-1, patch)).unflatten(5, (-1, patch))  # (B, 3, T, rows, patch, columns, patch)
        flat = grid.permute(0, 3, 5, 1, 2, 4, 6).flatten(3).flatten(1, 2)
        return self._with_class_token(F.linear(flat.to(weight.dtype), weight.flatten(1)))


class _AudioTokens(_PatchTokens):
    def __init__(self, config: ImageBindConfig) -> None:
        rows, columns = config.audio_grid
        width = config.audio_width
        stem = nn.Module()
        stem.proj = nn.Conv2d(1, width, config.audio_kernel, stride=config.audio_stride, bias=False)
        stem.norm_layer = nn.LayerNorm(width)
        super().__init__(rows * columns, width, stem)
        self.shape = (1, config.audio_mel_bins, config.audio_target_length)

    def forward(self, mel: Tensor) -> Tensor:
        """(B, 1, mel bins, frames) to (B, 1 + patches, D), patches of one frequency row together."""
        if tuple(mel.shape[1:]) != self.shape:
            raise ValueError(f"mel must be (B, {', '.join(map(str, self.shape))}), not {tuple(mel.shape)}")
        projection = self.rgbt_stem.proj
        kernel, stride = projection.kernel_size[0], projection.stride[0]
        flat = mel[:, 0].unfold(1, kernel, stride).unfold(2, kernel, stride).flatten(3).flatten(1, 2)
        patches = F.linear(flat.to(projection.weight.dtype), projection.weight.flatten(1))
        return self._with_class_token(self.rgbt_stem.norm_layer(patches))


class _TextTokens(nn.Module):
    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        context, width = config.text_context, config.text_width
        self.token_embedding = nn.Embedding(config.text_vocab_size, width)
        self.pos_embed = nn.Parameter(torch.randn(1, context, width) * 0.01)
        # Only part of the published state dict; attention is told to be causal instead.
        self.register_buffer("mask", torch.full((context, context), -math.inf).triu_(1))
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        if ids.ndim != 2 or ids.shape[1] > self.pos_embed.shape[1]:
            raise ValueError(f"ids must be (B, at most {self.pos_embed.shape[1]}), not {tuple(ids.shape)}")
        return self.token_embedding(ids) + self.pos_embed[:, : ids.shape[1]]


class _FirstToken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class _EndTokenHead(nn.Module):
    """Projects the state at each text's end token, the largest id in the vocabulary."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.LayerNorm(width, eps=NORM_EPS), nn.Linear(width, dim, bias=False))

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        return self.proj(x[torch.arange(len(x), device=x.device), ids.argmax(dim=-1)])


class _Normalise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


class _LogitScale(nn.Module):
    """The factor between cosine similarities and contrastive logits, kept as its logarithm."""

    def __init__(self, initial: float, learnable: bool) -> None:
        super().__init__()
        value = torch.tensor(math.log(initial))
        if learnable:
            self.log_logit_scale = nn.Parameter(value)
        else:
            self.register_buffer("log_logit_scale", value)

    def forward(self) -> Tensor:
        return self.log_logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)


def _class_token_head(width: int, dim: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width, eps=NORM_EPS), _FirstToken(), nn.Linear(width, dim, bias=False))


class ImageBind(nn.Module):
    """One embedding space for pictures, clips, sounds and texts.

    All ``encode_*`` methods return L2-normalised vectors of ``config.embedding_dim`` values, save that a medium of
    several views is the plain mean of its views' unit vectors (not normalised again), as NExT-GPT takes it.
    """

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        self.config = config
        c, ratio, dim = config, config.mlp_ratio, config.embedding_dim
        tokens: dict[str, nn.Module] = {"vision": _VisionTokens(c), "audio": _AudioTokens(c)}
        trunks = {
            "vision": Trunk(c.vision_width, c.vision_depth, c.vision_heads, ratio, pre_norm=True),
            "audio": Trunk(
                c.audio_width, c.audio_depth, c.audio_heads, ratio, extra_key=True, drop_path=c.audio_drop_path
            ),
        }
        heads: dict[str, nn.Module] = {
            "vision": _class_token_head(c.vision_width, dim),
            "audio": _class_token_head(c.audio_width, dim),
        }
        finals = {
            "vision": nn.Sequential(_Normalise()),
            "audio": nn.Sequential(_Normalise(), _LogitScale(AUDIO_LOGIT_SCALE, learnable=False)),
        }
        if c.text_depth:
            tokens["text"] = _TextTokens(c)
            trunks["text"] = Trunk(c.text_width, c.text_depth, c.text_heads, ratio)
            heads["text"] = _EndTokenHead(c.text_width, dim)
            finals["text"] = nn.Sequential(_Normalise(), _LogitScale(TEXT_LOGIT_SCALE, learnable=True))
        self.modality_preprocessors = nn.ModuleDict(tokens)
        self.modality_trunks = nn.ModuleDict(trunks)
        self.modality_heads = nn.ModuleDict(heads)
        self.modality_postprocessors = nn.ModuleDict(finals)

    @property
    def has_text(self) -> bool:
        return "text" in self.modality_trunks

    @property
    def device(self) -> torch.device:
        return self.modality_preprocessors["vision"].cls_token.device

    @property
    def dtype(self) -> torch.dtype:
        return self.modality_preprocessors["vision"].cls_token.dtype

    def text_logit_scale(self) -> Tensor:
        """The learned factor (at most 100) from cosine similarities to logits in contrastive training; a scalar."""
        return self.modality_postprocessors["text"][1]()

    def _encode_views(self, modality: str, views: Tensor) -> Tensor:
        tokens = self.modality_preprocessors[modality](views)
        states = self.modality_trunks[modality](tokens, first_only=True)
        return self.modality_postprocessors[modality][0](self.modality_heads[modality](states))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Normalised pictures (B, 3, H, W) as (B, E)."""
        if pixels.ndim != 4:
            raise ValueError(f"pixels must be (B, 3, H, W), not {tuple(pixels.shape)}")
        return self._encode_views("vision", pixels)

    def encode_video(self, pixels: Tensor) -> Tensor:
        """Views of clips (B, S, 3, T, H, W) as (B, E): the mean over S."""
        if pixels.ndim != 6:
            raise ValueError(f"pixels must be (B, S, 3, T, H, W), not {tuple(pixels.shape)}")
        return self._encode_views("vision", pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2]).mean(1)

    def encode_audio(self, mel: Tensor) -> Tensor:
        """Windows of log mel energies (B, S, 1, bins, frames) as (B, E): the mean over S."""
        if mel.ndim != 5:
            raise ValueError(f"mel must be (B, S, 1, bins, frames), not {tuple(mel.shape)}")
        return self._encode_views("audio", mel.flatten(0, 1)).unflatten(0, mel.shape[:2]).mean(1)

    def encode_text(self, ids: Tensor) -> Tensor:
        """Token ids (B, L ≤ text_context) as (B, E). The end token must be the largest id; what follows it is padding.

        Without the learned scale (``text_logit_scale``). Raises ValueError when there is no text tower.
        """
        if not self.has_text:
            raise ValueError("this ImageBind was built without its text tower (text_depth is 0)")
        states = self.modality_trunks["text"](self.modality_preprocessors["text"](ids), causal=True)
        return self.modality_postprocessors["text"][0](self.modality_heads["text"](states, ids))

    def encode_tokens(self, modality: str, views: Tensor) -> Tensor:
        """(B, 1 + patches, E): what the head makes of every token, each of unit length; the first is the view's own."""
        states = self.modality_trunks[modality](self.modality_preprocessors[modality](views))
        norm, _, projection = self.modality_heads[modality]
        return self.modality_postprocessors[modality][0](projection(norm(states)))

    @torch.no_grad()
    def encode_media(self, media: Sequence[Media], batch_size: int = 16) -> Tensor:
        """Mixed media, in their order, as (n, E) on this model's device.

        A view that occurs several times (the three crops of a square clip, the windows of a short sound, a medium
        given twice) is encoded once. Always as in eval mode, without gradients.
        """
        result = torch.empty(len(media), self.config.embedding_dim, device=self.device, dtype=self.dtype)
        for i, encoded, places in self._each(media, batch_size, self._encode_views):
            result[i] = encoded[places].mean(0)
        return result

    @torch.no_grad()
    def encode_with_patches(self, media: Sequence[Media], batch_size: int = 16) -> tuple[Tensor, list[Tensor]]:
        """As ``encode_media``, (n, E), and for each medium the patches (P, E) of all its different views, in order.

        Patches are what the head makes of the trunk's patch tokens, in the space of the embeddings and of unit
        length (NExT-GPT's 2024 code), so that pictures and sounds share one width.
        """
        result = torch.empty(len(media), self.config.embedding_dim, device=self.device, dtype=self.dtype)
        patches = [result[:0]] * len(media)
        for i, encoded, places in self._each(media, batch_size, self.encode_tokens):
            result[i] = encoded[places, 0].mean(0)
            patches[i] = encoded[list(dict.fromkeys(places)), 1:].flatten(0, 1)
        return result, patches

    @torch.no_grad()
    def encode_halfway(self, media: Sequence[Media], batch_size: int = 16) -> list[Tensor]:
        """For each medium (V, D): the mean over the patches of each different view after half of the tower's blocks.

        What a medium looks or sounds like, before the tower brings it down to what it has words for. D is the tower's
        width.
        """

        def encode(modality: str, views: Tensor) -> Tensor:
            tokens = self.modality_preprocessors[modality](views)
            return self.modality_trunks[modality].halfway(tokens)[:, 1:].mean(1)

        features: dict[int, Tensor] = {}
        for i, encoded, places in self._each(media, batch_size, encode):
            features[i] = encoded[list(dict.fromkeys(places))]
        return [features[i] for i in range(len(media))]

    def _each(
        self, media: Sequence[Media], batch_size: int, encode: Callable[[str, Tensor], Tensor]
    ) -> Iterator[tuple[int, Tensor, list[int]]]:
        """Number of a medium, everything that ``encode`` made of the views of its kind, and which are its own."""
        was_training = self.training
        self.eval()
        try:
            for kind, modality in MODALITY_OF_KIND.items():
                rows = [i for i, medium in enumerate(media) if medium.kind == kind]
                place: dict[bytes, int] = {}
                distinct: list[Tensor] = []
                used = [[_place_of(v, place, distinct) for v in preprocess(media[i], self.config)] for i in rows]
                batches = [distinct[i : i + batch_size] for i in range(0, len(distinct), batch_size)]
                encoded = [encode(modality, torch.stack(views).to(self.device, self.dtype)) for views in batches]
                every = torch.cat(encoded) if encoded else torch.empty(0)
                for i, places in zip(rows, used, strict=True):
                    yield i, every, places
        finally:
            self.train(was_training)


def _place_of(view: Tensor, place: dict[bytes, int], distinct: list[Tensor]) -> int:
    """Where ``view`` stands in ``distinct``, which grows when it is new."""
    key = hashlib.blake2b(view.contiguous().numpy().tobytes()).digest()
    if key not in place:
        place[key] = len(distinct)
        distinct.append(view)
    return place[key]
