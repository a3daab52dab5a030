"""Is a medium of the world that a small model was trained on? Distances between features, one threshold a kind.

The features are those of ``ImageBind.encode_halfway``. Embeddings would not do: a tower that was trained on a small
world has few directions left at its end and puts a stranger among its own (of the twelve real media tried, six were
unknown by their embeddings, ten by these). The distance is Mahalanobis' to one Gaussian (Lee et al. 2018), which
notices directions that the world never uses. Of a medium's views the farthest counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .errors import CheckpointError

_SHRINKAGE = 0.02  # of the mean variance, added to every direction


@dataclass(frozen=True)
class _Reference:
    """Mean (D,) and whitening (D, D) of known views; ``threshold`` on the distance to them."""

    threshold: float
    mean: Tensor
    whitening: Tensor

    def distance(self, views: Tensor) -> float:
        """Of the farthest of a medium's views (V, D)."""
        x = views.detach().to("cpu", torch.float32)
        return float(torch.linalg.vector_norm((x - self.mean) @ self.whitening, dim=-1).max())


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
        known: Mapping[str, Sequence[Tensor]],
        calibration: Mapping[str, Sequence[Tensor]],
        false_alarm: float = 0.01,
        made: Mapping[str, Sequence[Tensor]] | None = None,
    ) -> KnownWorld:
        """``known``: kind → features (V, D) of each of the world's media; ``calibration``: of others, not fitted;
        ``made``: of media that the model makes, which differ a little and come back to it as files.

        The threshold is the distance that a share ``false_alarm`` of the calibration exceeds, or of what is made where
        that is farther. Raises ValueError for fewer than 20 media of a kind on either side.
        """
        if not 0 < false_alarm < 1:
            raise ValueError(f"false_alarm is {false_alarm}; it must be between 0 and 1")
        references = {}
        for kind, media in known.items():
            held = calibration.get(kind, ())
            if min(len(media), len(held)) < 20:
                raise ValueError(
                    f"{len(media)} media of {kind!r} and {len(held)} for the threshold are too few to know a world by; "
                    "give at least 20 of each"
                )
            mean, whitening = _gaussian(torch.cat(list(media)))
            farthest = 0.0
            for group in filter(len, (held, (made or {}).get(kind, ()))):
                distances = [_Reference(1.0, mean, whitening).distance(views) for views in group]
                farthest = max(farthest, _upper_quantile(torch.tensor(distances), false_alarm))
            references[kind] = _Reference(farthest, mean, whitening)
        return cls(references)

    def distance(self, kind: str, views: Tensor) -> float:
        """How far a medium's features (V, D) are, in multiples of the threshold: above 1 is unknown; 0 without a
        reference."""
        if kind not in self._references:
            return 0.0
        reference = self._references[kind]
        return reference.distance(views) / reference.threshold

    def is_unknown(self, kind: str, views: Tensor) -> bool:
        return self.distance(kind, views) > 1.0

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file."""
        from safetensors.torch import save_file

        tensors = {
            f"{kind}.{name}": getattr(one, name).contiguous()
            for kind, one in self._references.items()
            for name in ("mean", "whitening")
        }
        thresholds = {kind: one.threshold for kind, one in self._references.items()}
        save_file(tensors, path, {"known_world": json.dumps(thresholds)})

    @classmethod
    def load(cls, path: str | Path) -> KnownWorld:
        """Raises CheckpointError for a file that is missing, corrupt or something else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                thresholds = json.loads(file.metadata()["known_world"])
                return cls(
                    {
                        kind: _Reference(
                            float(threshold),
                            file.get_tensor(f"{kind}.mean").float(),
                            file.get_tensor(f"{kind}.whitening").float(),
                        )
                        for kind, threshold in thresholds.items()
                    }
                )
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path} is no usable reference of known media ({error!r}). Fetch the checkpoint again."
            ) from error


def _gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and whitening (D, D) of features (n, D)."""
    x = features.detach().cpu().double()
    mean = x.mean(0)
    covariance = (x - mean).T @ (x - mean) / (len(x) - 1)
    width = len(mean)
    floor = _SHRINKAGE * covariance.trace() / width + 1e-12
    values, vectors = torch.linalg.eigh(covariance + floor * torch.eye(width, dtype=torch.float64))
    return mean.float(), (vectors / values.sqrt()).float()


def _upper_quantile(distances: Tensor, false_alarm: float) -> float:
    """The smallest seen distance that at most a share ``false_alarm`` of as many new ones should exceed."""
    ordered = distances.sort().values
    rank = min(len(ordered), int(torch.ceil(torch.tensor((len(ordered) + 1) * (1 - false_alarm)))))
    return max(float(ordered[rank - 1]), 1e-9)
