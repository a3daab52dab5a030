"""Any diffusers folder as a decoder: can it be conditioned, and by how many tokens of which width? Reads no weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from ..checkpoints import Component
from ..decoders import DECODERS
from ..decoders.conditioner import max_tokens
from ..decoders.folder import CLASSES, read_components, read_index
from ..errors import CheckpointError
from . import fetching
from .decoder_folders import copied_bytes, copy_decoder, folder_files, needed_files, read_config
from .fetching import Progress
from .recipe import Source

EXAMPLES = {
    "image": "Stable Diffusion 1.5 or 2.1",
    "audio": "AudioLDM (the first)",
    "video": "ModelScope's text-to-video or Zeroscope",
}
_UNETS = {"image": "UNet2DConditionModel", "audio": "UNet2DConditionModel", "video": "UNet3DConditionModel"}
_HARMLESS = ("safety_checker", "feature_extractor", "image_encoder")
_MORE_INPUTS = ("addition_embed_type", "encoder_hid_dim", "encoder_hid_dim_type")


@dataclass(frozen=True)
class OwnDecoder:
    """A decoder that fits. ``tokens``, ``width``: its conditioning; ``component``: how the manifest names it;
    ``names``: files of ``folder`` to copy, empty where the manifest refers to a repository."""

    kind: str
    folder: Path
    tokens: int
    width: int
    component: Component
    names: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return copied_bytes(self.folder, self.names)

    def write(self, folder: Path) -> None:
        """Copies what is to be copied into a checkpoint's ``folder``."""
        if self.names:
            copy_decoder(self.folder, self.names, folder / f"{self.kind}_decoder")


def find_decoder(given: str, kind: str, progress: Progress) -> OwnDecoder:
    """A local folder, which will be copied, or a hub repository, which is fetched and referred to at its revision.

    A repository that has weights as pickles only is copied and converted. Raises CheckpointError.
    """
    if not fetching.is_hub_name(given):
        folder = Path(given)
        if not folder.is_dir():
            raise CheckpointError(
                f"The {kind} decoder {folder} does not exist. Give a diffusers folder, for example of "
                f"{EXAMPLES[kind]}, or a hub repository as owner/name."
            )
        names = tuple(needed_files(folder_files(folder), kind, str(folder)))
        return OwnDecoder(kind, folder, *conditioning_of(folder, kind), Component(f"{kind}_decoder"), names)
    source = Source(f"{kind}_decoder", repo=given)
    located = fetching.locate(
        source, lambda names, where: needed_files(names, kind, where), None, fetching.default_cache()
    )
    fetched = located.fetch(fetching.default_cache(), progress)
    shape = conditioning_of(fetched.folder, kind)
    if located.revision is None or any(name.endswith(".bin") for name in fetched.files):
        return OwnDecoder(kind, fetched.folder, *shape, Component(f"{kind}_decoder"), tuple(fetched.files))
    hashes = {name: facts["sha256"] for name, facts in fetched.files.items()}
    component = Component(repo=given, revision=located.revision, sha256=hashes, files=tuple(sorted(fetched.files)))
    return OwnDecoder(kind, fetched.folder, *shape, component)


def conditioning_of(folder: Path, kind: str) -> tuple[int, int]:
    """(tokens, width) of the conditioning that a diffusers folder takes, from its configurations.

    Raises CheckpointError for one that cannot be conditioned by one sequence of text-encoder states (picture, clip)
    or one text embedding (sound) alone.
    """
    index = read_index(folder)
    _check_components(index, kind, folder)
    tokenizer = read_components(folder, ("tokenizer",), (), torch.device("cpu"), torch.float32)["tokenizer"]
    text = _text_config(folder, index)
    unet = _unet_config(folder, index)
    if more := [name for name in _MORE_INPUTS if unet.get(name) is not None]:
        _refuse(folder, kind, f"its unet wants {more[0]} {unet[more[0]]!r} beside the text")
    channels = read_config(folder / "vae").get("latent_channels", 4)
    if unet["in_channels"] != channels:
        _refuse(folder, kind, f"its unet takes {unet['in_channels']} channels and its vae makes {channels}: it edits")
    if kind == "audio":
        taken, made = unet.get("projection_class_embeddings_input_dim"), text.projection_dim
        if unet.get("class_embed_type") != "simple_projection":
            _refuse(folder, kind, "its unet takes no text embedding in place of class labels")
    else:
        taken, made = unet["cross_attention_dim"], text.hidden_size
        if unet.get("class_embed_type") is not None:
            _refuse(folder, kind, f"its unet wants class labels ({unet['class_embed_type']}) beside the text")
    if taken != made:
        _refuse(folder, kind, f"its unet takes conditioning of width {taken}, its text encoder makes {made}")
    return (1 if kind == "audio" else max_tokens(tokenizer, SimpleNamespace(config=text))), made


def _check_components(index: dict[str, Any], kind: str, folder: Path) -> None:
    decoder = DECODERS[kind]
    known = (*decoder.required, *decoder.optional, *_HARMLESS)
    pairs = {name: v for name, v in index.items() if isinstance(v, list) and len(v) == 2 and v[1] is not None}
    if more := [name for name in pairs if name not in known]:
        _refuse(folder, kind, f"it is a {index.get('_class_name', 'pipeline')} with a {more[0]}")
    for name in decoder.required:
        made = pairs.get(name, (None, None))[1]
        wanted = (_UNETS[kind],) if name == "unet" else CLASSES.get(name)
        if made is None:
            _refuse(folder, kind, f"it has no {name}")
        if wanted is not None and made not in wanted:
            _refuse(folder, kind, f"its {name} is a {made} instead of {' or '.join(wanted)}")


def _text_config(folder: Path, index: dict[str, Any]) -> Any:
    from transformers import ClapTextConfig, CLIPTextConfig

    cls = ClapTextConfig if index["text_encoder"][1].startswith("Clap") else CLIPTextConfig
    read_config(folder / "text_encoder")
    return cls.from_pretrained(folder / "text_encoder", local_files_only=True)


def _unet_config(folder: Path, index: dict[str, Any]) -> dict[str, Any]:
    import diffusers

    cls = getattr(diffusers, index["unet"][1])
    try:
        with torch.device("meta"):  # fills in what the file leaves out, and says whether it can be built at all
            return dict(cls.from_config(read_config(folder / "unet")).config)
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{folder / 'unet'} cannot be built ({reason}). Download it again.") from error


def _refuse(folder: Path, kind: str, reason: str) -> None:
    need = "one text embedding" if kind == "audio" else "the states of one text encoder"
    raise CheckpointError(
        f"{folder} cannot be the {kind} decoder: {reason}. It must be conditioned by {need} alone, "
        f"as {EXAMPLES[kind]} is."
    )
