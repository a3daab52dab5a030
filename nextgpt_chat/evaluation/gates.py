"""The gates of training, as functions on single parts. A part that does not pass is not worth building on.

Every gate answers rows as ``evaluate`` prints them, ``{row: {"n", "distinct", "correct", "rate", "low95",
"ceiling"}}``; `passes` compares their rates with a bound:

>>> rows = autoencoder_gate(vae, n=300)                     # AutoencoderTiny for pictures (and, kind="video", clips)
>>> passes(rows, 0.99, "thing", "colour", "position")
>>> rows = mel_gate(vae, to_mel, vocode, n=200)             # mel autoencoder and vocoder together
>>> rows = vocoder_gate(to_mel, vocode, n=200)              # the vocoder on true spectrograms
>>> rows = ceiling_gate(decoder, "image", steps=12, guidance_scale=3.0)     # a decoder fed by its own text encoder
>>> rows = probe_gate(x_train, labels_train, x_test, labels_test)   # what a linear reader gets out of embeddings
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..picturebook import captions
from .cases import NAMES, attributes, choose, judge, judged, render
from .tally import Row, Tally

Progress = Callable[[str, int, int], None]
"""Called with (what, done, of)."""

BATCH = 16


def passes(rows: Mapping[str, Row], rate: float, *names: str) -> bool:
    """Whether every row (whose last part is one of ``names``, if given) reaches ``rate``. False if there is none."""
    return bool(counted(rows, names)) and not under(rows, rate, names)


def counted(rows: Mapping[str, Row], names: Sequence[str] = ()) -> dict[str, Row]:
    """The rows whose last part is one of ``names``; all, if none are given."""
    return {name: row for name, row in rows.items() if not names or name.split("/")[-1] in names}


def under(rows: Mapping[str, Row], rate: float, names: Sequence[str] = ()) -> dict[str, Row]:
    """Those of the counted rows that do not reach ``rate``."""
    return {name: row for name, row in counted(rows, names).items() if row["rate"] < rate}


def roundtrip_gate(
    name: str,
    kind: str,
    roundtrip: Callable[[np.ndarray], np.ndarray],
    n: int = 200,
    *,
    seed: int = 0,
    held_out: bool = True,
    progress: Progress | None = None,
) -> dict[str, Row]:
    """Rows ``name/attribute``: true renderings of a kind ("image", "audio", "video") as they come out of a part.

    ``roundtrip`` maps a batch of renderings, uint8 (B, h, w, 3), float32 (B, samples) or uint8 (B, frames, h, w, 3), to
    one of the same kind.
    """
    tally = Tally()
    chosen = choose(kind, n, seed, held_out)
    for start in range(0, n, BATCH):
        batch = chosen[start : start + BATCH]
        media = np.stack([render(value, seed + start + i) for i, value in enumerate(batch)])
        for value, medium in zip(batch, roundtrip(media), strict=True):
            tally.add_attributes(name, judged(kind, value), judge(kind, medium), value)
        if progress:
            progress(name, min(n, start + BATCH), n)
    return tally.rows()


@torch.no_grad()
def reconstruct(vae: torch.nn.Module, pixels: np.ndarray) -> np.ndarray:
    """uint8 (B, h, w, 3) through an ``AutoencoderTiny`` and back, on whatever device it is."""
    weight = next(vae.parameters())
    x = torch.tensor(pixels).permute(0, 3, 1, 2).to(weight.device, weight.dtype)
    y = vae.decoder(vae.encoder(x / 127.5 - 1)).clamp(-1, 1)
    return ((y.float() + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def autoencoder_gate(
    vae: torch.nn.Module, n: int = 300, kind: str = "image", *, seed: int = 0, held_out: bool = True
) -> dict[str, Row]:
    """Rows "autoencoder/picture/thing" … (or, kind="video", "autoencoder/clip/motion" …) of reconstructed renderings.

    ``vae``: ``AutoencoderTiny``, pixels in [-1, 1] through ``vae.encoder`` and ``vae.decoder``.
    """

    def roundtrip(media: np.ndarray) -> np.ndarray:
        return reconstruct(vae, media.reshape(-1, *media.shape[-3:])).reshape(media.shape)

    return roundtrip_gate(f"autoencoder/{NAMES[kind]}", kind, roundtrip, n, seed=seed, held_out=held_out)


def vocoder_gate(
    to_mel: Callable[[np.ndarray], Tensor],
    vocode: Callable[[Tensor], Any],
    n: int = 200,
    *,
    seed: int = 0,
    held_out: bool = True,
) -> dict[str, Row]:
    """Rows "vocoder/source" …: sounds as spectrograms and back.

    ``to_mel``: float32 (B, samples) → spectrograms (B, frames, bins) in the vocoder's units; ``vocode``: those →
    waves (B, samples), as a tensor, an array or a list of Audio (``AudioDecoder.vocode``).
    """
    return roundtrip_gate("vocoder", "audio", lambda x: _waves(vocode(to_mel(x))), n, seed=seed, held_out=held_out)


def mel_gate(
    vae: torch.nn.Module,
    to_mel: Callable[[np.ndarray], Tensor],
    vocode: Callable[[Tensor], Any],
    n: int = 200,
    *,
    seed: int = 0,
    held_out: bool = True,
) -> dict[str, Row]:
    """Rows "autoencoder/sound/source" …: the spectrogram goes through its autoencoder before it is vocoded.

    ``vae``: ``AutoencoderTiny`` of (B, 1, frames, bins); the rest as in `vocoder_gate`.
    """

    @torch.no_grad()
    def roundtrip(samples: np.ndarray) -> list[np.ndarray]:
        weight = next(vae.parameters())
        mel = to_mel(samples).to(weight.device, weight.dtype)[:, None]
        return _waves(vocode(vae.decoder(vae.encoder(mel))[:, 0, : mel.shape[2]]))

    return roundtrip_gate("autoencoder/sound", "audio", roundtrip, n, seed=seed, held_out=held_out)


def _waves(waves: Any) -> list[np.ndarray]:
    if isinstance(waves, Tensor):
        waves = waves.detach().float().cpu().numpy()
    return [np.asarray(getattr(wave, "samples", wave), dtype=np.float32).reshape(-1) for wave in waves]


def ceiling_gate(
    decoder: Any,
    kind: str,
    n: int = 200,
    *,
    steps: int,
    guidance_scale: float,
    seed: int = 0,
    held_out: bool = True,
    progress: Progress | None = None,
    **settings: Any,
) -> dict[str, Row]:
    """Rows "picture/thing" … of what a decoder makes of the canonical captions, encoded by its own text encoder.

    ``decoder``: has ``encode_text(captions)`` and ``decode(conditioning, steps=…, guidance_scale=…, seed=[…],
    **settings)`` that answers a medium or a list of them; case i has seed ``seed + i``.
    """
    chosen = choose(kind, n, seed, held_out)
    tally = Tally()
    for start in range(0, n, BATCH):
        batch = chosen[start : start + BATCH]
        made = decoder.decode(
            decoder.encode_text([captions(value)[0] for value in batch]),
            steps=steps,
            guidance_scale=guidance_scale,
            seed=[seed + start + i for i in range(len(batch))],
            **settings,
        )
        for value, medium in zip(batch, made if isinstance(made, list) else [made], strict=True):
            tally.add_attributes(NAMES[kind], judged(kind, value), judge_medium(medium), value)
        if progress:
            progress(f"ceiling of {NAMES[kind]}s", min(n, start + BATCH), n)
    return tally.rows()


def judge_medium(medium: Any) -> dict[str, str]:
    """The attributes judged in an Image, Audio or Video (of ``nextgpt_chat.content``) or a PIL picture."""
    if hasattr(medium, "samples"):
        return judge("audio", medium.samples, medium.rate)
    if hasattr(medium, "frames"):
        return judge("video", medium.frames)
    pixels = medium.pixels if hasattr(medium, "pixels") else np.asarray(medium.convert("RGB"))
    return judge("image", pixels)


def labels_of(values: Sequence[Any]) -> dict[str, list[str]]:
    """The words of some values of one kind by attribute, for `probe_gate`."""
    words = [attributes(value) for value in values]
    return {name: [one[name] for one in words] for name in words[0]}


def probe_gate(
    embeddings_train: Tensor | np.ndarray,
    labels_train: Mapping[str, Sequence[str]],
    embeddings_test: Tensor | np.ndarray,
    labels_test: Mapping[str, Sequence[str]],
    *,
    name: str = "probe",
    ridge: float = 1e-3,
    steps: int = 60,
) -> dict[str, Row]:
    """Rows ``name/attribute``: what a linear classifier, fitted to the training embeddings, reads in the others.

    Embeddings (n, width); ``labels``: words by attribute (see `labels_of`). A multinomial logistic regression with
    weight decay ``ridge``, by LBFGS from the ridge regression's solution.
    """
    train, test = (torch.as_tensor(np.asarray(x), dtype=torch.float64) for x in (embeddings_train, embeddings_test))
    mean, spread = train.mean(0), train.std(0).clamp(min=1e-8)
    train, test = ((torch.cat([(x - mean) / spread, torch.ones(len(x), 1)], 1)) for x in (train, test))
    tally = Tally()
    for attribute, words in labels_train.items():
        names = sorted(set(words))
        target = torch.tensor([names.index(word) for word in words])
        weight = _logistic(train, target, len(names), ridge, steps)
        read = (test @ weight).argmax(1).tolist()
        for number, (guess, word) in enumerate(zip(read, labels_test[attribute], strict=True)):
            tally.add(f"{name}/{attribute}", names[guess] == word, number)
    return tally.rows()


def _logistic(x: Tensor, target: Tensor, classes: int, ridge: float, steps: int) -> Tensor:
    one_hot = torch.nn.functional.one_hot(target, classes).double()
    gram = x.T @ x / len(x) + 1e-2 * torch.eye(x.shape[1], dtype=x.dtype)
    weight = (4 * torch.linalg.solve(gram, x.T @ (one_hot - 1 / classes) / len(x))).contiguous().requires_grad_()
    optimiser = torch.optim.LBFGS([weight], max_iter=steps, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(x @ weight, target) + 0.5 * ridge * weight.square().sum() / len(x)
        value.backward()
        return value

    optimiser.step(loss)
    return weight.detach()
