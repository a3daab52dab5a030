"""A synthetic "published" checkpoint: the authors' file names, tensor names and formats, at small sizes."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from decoders.conftest import make_decoder
from tiny import tiny_network, tiny_spm
from tiny_checkpoint import IMAGEBIND, KINDS
from torch import Tensor

from nextgpt_chat.imagebind import ImageBind
from nextgpt_chat.projections import OutputProjectionConfig, build_output_projection
from nextgpt_chat.tokens import SignalTokens

WIDTH, RANK = 64, 4
OUTPUTS = {"image": "gen_text_hidden_fcs", "audio": "gen_text_hidden_fcs_audio", "video": "gen_text_hidden_fcs_video"}
ADDED = SignalTokens().all_names()
SPELLED = ("{'<Img>'}", "{'</Img>'}", *ADDED[2:])


@dataclass(frozen=True)
class Published:
    """Where the foreign files are. ``pieces``: rows of the base's token tables."""

    root: Path
    pieces: int

    @property
    def nextgpt(self) -> Path:
        return self.root / "nextgpt" / "pytorch_model.pt"

    @property
    def llm(self) -> Path:
        return self.root / "vicuna-7b-v0"

    @property
    def imagebind(self) -> Path:
        return self.root / "imagebind_huge.pth"

    @property
    def decoders(self) -> dict[str, Path]:
        return {kind: self.root / "decoders" / kind for kind in KINDS}

    def arguments(self, out: Path) -> list[str]:
        """Of the command that imports all of it."""
        given = {"nextgpt": self.nextgpt, "llm": self.llm, "imagebind": self.imagebind, "out": out}
        given["imagebind-config"] = self.root / "imagebind.json"
        given |= {f"{kind}-decoder": folder for kind, folder in self.decoders.items()}
        return ["import-checkpoint", *(part for name, value in given.items() for part in (f"--{name}", str(value)))]

    def state(self) -> dict[str, Tensor]:
        return torch.load(self.nextgpt, weights_only=True)

    def edit(self, change) -> None:
        """Saves the authors' file anew after ``change(state)``."""
        state = self.state()
        change(state)
        torch.save(state, self.nextgpt)


def make_published(root: Path) -> Published:
    """Writes everything below ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    pieces = write_language_model(root / "vicuna-7b-v0")
    made = Published(root, pieces)
    made.nextgpt.parent.mkdir()
    torch.save(published_state(pieces + len(ADDED)), made.nextgpt)
    write_added_tokens(made, SPELLED)
    write_imagebind(made)
    for kind, folder in made.decoders.items():
        make_decoder(kind).save_folder(folder)
    return made


def write_language_model(folder: Path, extra_rows: int = 0, context: int = 512) -> int:
    """A base in the format of 2023: two ``.bin`` shards in half precision, a sentencepiece file. Returns its pieces."""
    import sentencepiece

    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(tiny_spm())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=tiny_spm()).get_piece_size()
    network = tiny_network(pieces + extra_rows, seed=3, width=WIDTH, context=context).half()
    state = dict(network.state_dict())
    for layer in range(2):  # a buffer that LLaMA's files of 2023 still hold
        state[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    names = sorted(state)
    halves = {"00001": names[: len(names) // 2], "00002": names[len(names) // 2 :]}
    weight_map = {}
    for number, own in halves.items():
        file = f"pytorch_model-{number}-of-00002.bin"
        torch.save({name: state[name].clone() for name in own}, folder / file)
        weight_map |= dict.fromkeys(own, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    network.config.save_pretrained(folder)
    # As converted in March 2023: another class name, and token ids that are simply wrong.
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["LLaMAForCausalLM"], "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": -1}
    (folder / "config.json").write_text(json.dumps(config | {"torch_dtype": "float16"}))
    return pieces


def published_state(rows: int, *, stage: int = 3) -> dict[str, Tensor]:
    """The tensors of ``pytorch_model.pt`` in the order and precision of the original's save code."""
    llm = "llama_model.base_model.model." if stage == 3 else "llama_model."
    state = {f"{llm}model.embed_tokens.weight": torch.randn(rows, WIDTH) * 0.3}
    state[f"{llm}lm_head.weight"] = torch.randn(rows, WIDTH) * 0.3
    if stage == 3:
        for layer in range(2):
            for module in ("q", "k", "v", "o"):
                stem = f"{llm}model.layers.{layer}.self_attn.{module}_proj.lora"
                state[f"{stem}_A.default.weight"] = torch.randn(RANK, WIDTH) * 0.1
                state[f"{stem}_B.default.weight"] = torch.randn(WIDTH, RANK) * 0.1
    state["llama_proj.weight"] = torch.randn(WIDTH, IMAGEBIND.embedding_dim)
    state["llama_proj.bias"] = torch.randn(WIDTH)
    for kind, attribute in OUTPUTS.items():
        shape = make_decoder(kind).conditioning_shape
        tokens, out = (1, shape[0]) if len(shape) == 1 else shape
        count = SignalTokens().count(kind)
        config = OutputProjectionConfig(WIDTH, out, count, tokens, "transformer", 16, 1, 4, 32)
        projection = build_output_projection(config)
        state |= {f"{attribute}.0.{name}": tensor for name, tensor in projection.state_dict().items()}
    return {name: torch.nn.Parameter(tensor.half()) for name, tensor in state.items()}


def write_added_tokens(made: Published, names: tuple[str, ...]) -> None:
    """As the original's tokenizer saves them beside its weights."""
    added = {name: made.pieces + number for number, name in enumerate(names)}
    (made.nextgpt.parent / "added_tokens.json").write_text(json.dumps(added))


def write_imagebind(made: Published) -> None:
    """The whole state dict in single precision, with the towers that nobody uses."""
    state = dict(ImageBind(IMAGEBIND).state_dict())
    for tower in ("depth", "thermal", "imu"):
        for part in ("preprocessors", "trunks", "heads", "postprocessors"):
            state[f"modality_{part}.{tower}.some.weight"] = torch.randn(3, 3)
    torch.save(state, made.imagebind)
    (made.root / "imagebind.json").write_text(json.dumps(IMAGEBIND.to_dict()))


def write_delta(base: Path, target: Path, folder: Path, pad_rows: int = 1) -> None:
    """``target`` as a delta over ``base`` in the manner of Vicuna v0: its token tables have a row more."""
    from nextgpt_chat.importing.tensors import TensorSource

    folder.mkdir()
    first, second = TensorSource(base, "base"), TensorSource(target, "target")
    state = {}
    for name, fact in second.facts.items():
        state[name] = second.get(name) - first.get(name)
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            state[name] = torch.cat([state[name], torch.zeros(pad_rows, fact.shape[1], dtype=torch.float16)])
    torch.save(state, folder / "pytorch_model.bin")
    shutil.copyfile(target / "config.json", folder / "config.json")
