"""Is a medium of the world that a small model was trained on? Distances in ImageBind's space, one threshold a kind.

Two ways to measure: the Mahalanobis distance to one Gaussian (Lee et al. 2018), which notices directions that the
world never uses, and the distance to the nearest known embeddings (Sun et al. 2022), which notices gaps between them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .errors import CheckpointError

METHODS = ("gaussian", "neighbours")
NEIGHBOURS = 5
_MAX_KNOWN = 4000  # embeddings kept a kind: 2 MB of half floats at width 256
_SHRINKAGE = 0.02  # of the mean variance, added to every direction


@dataclass(frozen=True)
class _Reference:
    """``known``: mean (E,) and whitening (E, E), or embeddings (n, E); ``threshold`` on the distance to it."""

    method: str
    threshold: float
    tensors: Mapping[str, Tensor]

    def distances(self, embeddings: Tensor) -> Tensor:
        """(n,) of (n, E), float32."""
        x = embeddings.detach().to("cpu", torch.float32)
        if self.method == "gaussian":
            return torch.linalg.vector_norm((x - self.tensors["mean"]) @ self.tensors["whitening"], dim=-1)
        known = torch.nn.functional.normalize(self.tensors["known"], dim=-1)
        gaps = torch.cdist(torch.nn.functional.normalize(x, dim=-1), known)
        return gaps.topk(min(NEIGHBOURS, len(known)), largest=False).values.mean(-1)


class KnownWorld:
    """References by kind. A kind without one counts as known."""

    def __init__(self, references: Mapping[str, _Reference]) -> None:
        self._references = dict(references)

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self._references)

    @classmethod
    def fit(
        cls,
        embeddings: Mapping[str, Tensor],
        false_alarm: float = 0.01,
        *,
        calibration: Mapping[str, Tensor] | None = None,
        method: str = "gaussian",
        seed: int = 0,
    ) -> KnownWorld:
        """``embeddings``: kind → ImageBind embeddings (n, E) of the world's media.

        The threshold is the distance that a share ``false_alarm`` of known media exceeds, taken on ``calibration``
        (renderings that were not fitted; without it, every fifth of ``embeddings`` is set aside). Raises ValueError
        for an unknown method or fewer than 20 embeddings.
        """
        if method not in METHODS:
            raise ValueError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
        if not 0 < false_alarm < 1:
            raise ValueError(f"false_alarm is {false_alarm}; it must be between 0 and 1")
        references = {}
        for kind, every in embeddings.items():
            if len(every) < 20:
                raise ValueError(
                    f"{len(every)} embeddings of {kind!r} are too few to know a world by; give at least 20"
                )
            order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))
            shuffled = every.detach().to("cpu", torch.float32)[order]
            if calibration is not None and kind in calibration:
                fitted, held = shuffled, calibration[kind]
            else:
                held, fitted = shuffled[::5], shuffled[torch.arange(len(shuffled)) % 5 != 0]
            known = _Reference(method, 0.0, _summary(fitted, method))
            threshold = _upper_quantile(known.distances(held), false_alarm)
            references[kind] = _Reference(method, threshold, known.tensors)
        return cls(references)

    def distance(self, kind: str, embedding: Tensor) -> float:
        """How far an embedding (E,) is, in multiples of the threshold: above 1 is unknown; 0 without a reference."""
        if kind not in self._references:
            return 0.0
        reference = self._references[kind]
        return float(reference.distances(embedding.reshape(1, -1))[0]) / reference.threshold

    def is_unknown(self, kind: str, embedding: Tensor) -> bool:
        return self.distance(kind, embedding) > 1.0

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file."""
        from safetensors.torch import save_file

        tensors = {
            f"{kind}.{name}": (value.half() if name == "known" else value).contiguous()
            for kind, one in self._references.items()
            for name, value in one.tensors.items()
        }
        facts = {kind: {"method": one.method, "threshold": one.threshold} for kind, one in self._references.items()}
        save_file(tensors, path, {"known_world": json.dumps(facts)})

    @classmethod
    def load(cls, path: str | Path) -> KnownWorld:
        """Raises CheckpointError for a file that is missing, corrupt or something else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads(file.metadata()["known_world"])
                tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
            references = {}
            for kind, one in facts.items():
                names = ("mean", "whitening") if one["method"] == "gaussian" else ("known",)
                own = {name: tensors[f"{kind}.{name}"] for name in names}
                references[kind] = _Reference(one["method"], float(one["threshold"]), own)
            return cls(references)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path} is no usable reference of known media ({error!r}). Fetch the checkpoint again."
            ) from error


def _summary(embeddings: Tensor, method: str) -> dict[str, Tensor]:
    if method == "neighbours":
        # Rounded as they will be stored, so that the threshold belongs to what is loaded again.
        return {"known": embeddings[:_MAX_KNOWN].half().float()}
    x = embeddings.double()
    mean = x.mean(0)
    covariance = (x - mean).T @ (x - mean) / (len(x) - 1)
    width = len(mean)
    floor = _SHRINKAGE * covariance.trace() / width + 1e-12
    values, vectors = torch.linalg.eigh(covariance + floor * torch.eye(width, dtype=torch.float64))
    return {"mean": mean.float(), "whitening": (vectors / values.sqrt()).float()}


def _upper_quantile(distances: Tensor, false_alarm: float) -> float:
    """The smallest seen distance that at most a share ``false_alarm`` of as many new ones should exceed."""
    ordered = distances.sort().values
    rank = min(len(ordered), int(torch.ceil(torch.tensor((len(ordered) + 1) * (1 - false_alarm)))))
    return max(float(ordered[rank - 1]), 1e-9)
