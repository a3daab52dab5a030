"""Another golden folder in other sizes and with other seeds, computed without our code: plain torch, transformers and
sentencepiece only. It shows that the parity runner reads everything from the folder it is given."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import save_file
from tiny import tiny_spm
from torch import Tensor, nn

COUNTS = {"IMG": 3, "VID": 5, "AUD": 2}
ADDED = ("<Img>", "</Img>", *(f"[{short}{i}]" for short, count in COUNTS.items() for i in range(count)))
TOKENIZER = "tokenizer/other.model"
WIDTH, EMBEDDING, RANK, ALPHA, TOKENS, OUT = 48, 12, 4, 6, 9, 20
IGNORED = -100
EXACT = {"metric": "exact", "atol": 0.0, "rtol": 0.0}
SIZES = {"hidden_size": WIDTH, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 6}


def write_folder(folder: Path, seed: int) -> Path:
    """Tokenizer, one output projection, one reply in words (without media), one batch of each training stage."""
    torch.manual_seed(seed)
    (folder / "tokenizer").mkdir(parents=True)
    (folder / TOKENIZER).write_bytes(tiny_spm())
    _Maker(folder, seed).write()
    return folder


class _Maker:
    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.spm = sentencepiece.SentencePieceProcessor(model_proto=tiny_spm())
        self.base = self.spm.get_piece_size()
        self.added = {name: self.base + i for i, name in enumerate(ADDED)}

    def ids(self, text: str) -> list[int]:
        """The original's rule: cut at added tokens, strip what touches them, encode each piece by itself."""
        found: list[int] = []
        pieces = re.split("(" + "|".join(map(re.escape, ADDED)) + ")", text)
        for i, piece in enumerate(pieces):
            if piece in self.added:
                found.append(self.added[piece])
                continue
            piece = piece.lstrip() if i else piece
            found += self.spm.encode(piece.rstrip() if i + 1 < len(pieces) else piece)
        return found

    def write(self) -> None:
        texts = ("### Human: <Img>", "a dog[IMG0] [IMG1] [IMG2]\n###", " x ", "[AUD0]y[AUD1] z")
        cases = [{"text": text, "ids": self.ids(text), "quirk": False} for text in texts]
        self.json(
            "tokenizer",
            {"model": f"{TOKENIZER} (small)", "base_vocab": self.base, "added": self.added, "pad_id": 2, "cases": cases}
            | {"compare": [{"tensors": "cases.ids", **EXACT}]},
        )
        self.projection()
        self.training()

    def projection(self) -> None:
        layer = _Projection(num_out=TOKENS, out=OUT)
        hidden, embeddings = torch.randn(2, 3, 5, WIDTH)
        tensors = {f"sd.{name}": tensor for name, tensor in layer.state_dict().items()}
        tensors |= {"hidden": hidden, "input_embs": embeddings, "output": layer(hidden, embeddings)}
        self.tensors("outproj_other", tensors)
        sizes = {"in_dim": WIDTH, "out_dim": OUT, "num_input_tokens": 5, "num_output_tokens": TOKENS, "hidden_dim": 16}
        rule = {"tensors": "output*", "metric": "max_abs", "atol": 1e-5, "rtol": 1e-5}
        self.json("outproj_other", {"config": sizes, "compare": [rule]})

    # --- training ------------------------------------------------------------------------------------------------

    def training(self) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        self.config = {"vocab_size": self.base + len(ADDED), **SIZES, "bos_token_id": 1, "pad_token_id": 0}
        self.llama = LlamaForCausalLM(LlamaConfig(**self.config, initializer_range=0.2)).eval()
        special = [i for i in range(self.base) if i < 3 or "#" in self.spm.id_to_piece(i)]
        self.llama.lm_head.weight.data[[*special, *self.added.values()]] = 0  # a reply of words only, up to the limit
        self.input = nn.Linear(EMBEDDING, WIDTH)
        self.output = _Projection(num_out=TOKENS, out=OUT)
        self.caption_states = torch.randn(2, TOKENS, OUT).half()
        self.media = torch.randn(2, EMBEDDING)
        self.cases: dict[str, Any] = {}
        self.made: dict[str, Tensor] = {}
        self.write_weights()
        captions = ["a dog runs", "rain"]
        self.captioning(captions)
        self.alignment("stage2_image", captions, "")
        with torch.no_grad():  # stage 3 is asked for its loss only, so LoRA can be added up
            for name, (a, b) in self.lora.items():
                self.llama.get_parameter(name).add_(ALPHA / RANK * b @ a)
        self.instruction("stage3_image", captions)
        self.reply()
        self.tensors("training", self.made)
        self.tensors("captions", {"image": self.caption_states})
        compare = [
            {"tensors": "*input_ids|*target_ids|*attention_mask|*full_targets|*full_attention_mask", **EXACT},
            {"tensors": "loss|mse_loss", "metric": "max_abs", "atol": 0.0, "rtol": 1e-4},
            {"tensors": "grad_norms", "metric": "max_abs", "atol": 0.0, "rtol": 1e-3},
        ]
        self.json("training", {"tokenizer": TOKENIZER, "cases": self.cases, "compare": compare})

    def write_weights(self) -> None:
        own = ("model.embed_tokens.weight", "lm_head.weight")
        state = self.llama.state_dict()
        prefix = "delta.llama_model.base_model.model."
        weights = {f"base.{name}": tensor for name, tensor in state.items() if name not in own}
        weights |= {prefix + name: state[name] for name in own}
        weights |= {f"delta.llama_proj.{name}": tensor for name, tensor in self.input.state_dict().items()}
        self.lora = {}
        for name in (name for name in state if re.search(r"\.(q|v)_proj\.weight", name)):
            a, b = torch.randn(RANK, WIDTH) * 0.2, torch.randn(WIDTH, RANK) * 0.2
            self.lora[name] = (a, b)
            stem = prefix + name.removesuffix(".weight")
            weights |= {f"{stem}.lora_A.default.weight": a, f"{stem}.lora_B.default.weight": b}
        self.tensors("llm_weights", weights)
        stem = "delta.gen_text_hidden_fcs.0."
        self.tensors("image_weights", {stem + name: tensor for name, tensor in self.output.state_dict().items()})
        config = {"llama": self.config, "lora": {"lora_r": RANK, "lora_alpha": ALPHA, "target": ["q_proj", "v_proj"]}}
        self.generation = {"config": config, "weights": ["llm_weights", "image_weights"], "tokenizer": TOKENIZER}

    def captioning(self, captions: list[str]) -> None:
        prompt = "say what it is"
        bodies = [
            (self.ids(f"</Img> {prompt}\n### Assistant: "), self.ids(f"{caption}\n###"))
            for caption in captions
        ]  # fmt: skip
        projected = self.input(self.media)
        facts = {"stage": 1, "captions": captions, "images": ["media/a.png", "media/b.png"], "prompt": prompt}
        self.batch("stage1_image", bodies, facts, projected)

    def alignment(self, name: str, captions: list[str], kind: str) -> None:
        signals = " ".join(ADDED[2:5])
        bodies = [
            (self.ids(f"{caption}\n### Assistant: "), self.ids(f"{caption}{signals}\n###"))
            for caption in captions
        ]  # fmt: skip
        self.batch(name, bodies, {"stage": 2, "captions": captions})

    def instruction(self, name: str, captions: list[str]) -> None:
        signals = " ".join(ADDED[2:5])
        talks, bodies = [], []
        for caption in captions:
            human = {"from": "human", "value": caption, "input_modality": "text"}
            talks.append([human, {"from": "gpt", "value": "Sure", "caption": caption, "output_modality": "image"}])
            bodies.append((self.ids(f"{caption}\n### Assistant: "), self.ids(f"Sure{signals}\n###")))
        self.batch(name, bodies, {"stage": 3, "conversations": talks, "loss_scale": 3})

    def batch(self, name: str, bodies: Sequence, facts: dict[str, Any], projected: Tensor | None = None) -> None:
        ids = _padded([masked + learned for masked, learned in bodies], 2)
        targets = _padded([[IGNORED] * len(masked) + learned for masked, learned in bodies], IGNORED)
        mask = _padded([[1] * (len(masked) + len(learned)) for masked, learned in bodies], 0)
        embed = self.llama.get_input_embeddings()
        head = torch.tensor([[1, *self.ids("### Human: " + ("<Img>" if projected is not None else ""))]] * len(bodies))
        parts = [embed(head), *([] if projected is None else [projected[:, None]]), embed(ids)]
        embeds = torch.cat(parts, 1)
        prefix = embeds.shape[1] - ids.shape[1]
        full = torch.cat([torch.full((len(bodies), prefix), IGNORED), targets], 1)
        full_mask = torch.cat([torch.ones(len(bodies), prefix, dtype=torch.long), mask], 1)
        out = self.llama(inputs_embeds=embeds, attention_mask=full_mask, labels=full, output_hidden_states=True)
        loss = out.loss
        if facts["stage"] > 1:
            rows = (full == self.added["[IMG0]"]).nonzero()[:, 1, None] + torch.arange(COUNTS["IMG"])
            at = (torch.arange(len(bodies))[:, None], rows)
            made = self.output(out.hidden_states[-1][at], embeds[at])
            distance = torch.linalg.vector_norm(made - self.caption_states.float(), dim=-1).mean()
            loss = loss + facts.get("loss_scale", 1) * distance
            facts |= {"mse_loss": distance.item(), "dataset_type": "TextToImage", "caption_embs": "captions:image"}
        facts["loss"] = loss.item()
        if facts["stage"] < 3:
            facts["grad_norms"] = self.gradients(loss, facts["stage"])
        self.cases[name] = facts
        found = {"input_ids": ids, "target_ids": targets, "attention_mask": mask, "full_targets": full}
        self.made |= {f"{name}.{key}": value for key, value in (found | {"full_attention_mask": full_mask}).items()}
        if projected is not None:
            self.made[f"{name}.mm_embeds"] = projected[:, None].detach()

    def reply(self) -> None:
        """Greedy decoding of some positions, up to the 246 tokens of the original's demo."""
        embeds = torch.randn(1, 7, WIDTH)
        options = {"do_sample": False, "max_new_tokens": 246, "pad_token_id": 2, "eos_token_id": None}
        with torch.no_grad():
            ids = self.llama.generate(inputs_embeds=embeds, **options)
            whole = torch.cat([embeds, self.llama.get_input_embeddings()(ids[:, :-1])], 1)
            states = self.llama.model(inputs_embeds=whole).last_hidden_state[:, embeds.shape[1] :]
        self.tensors("generation", {"input_embeds": embeds, "step_hidden": states})
        compare = [
            {"tensors": "expected_new_ids", **EXACT},
            {"tensors": "*hidden*", "metric": "max_abs", "atol": 1e-3, "rtol": 1e-3},
            {"tensors": "*embed*", "metric": "max_abs", "atol": 1e-4, "rtol": 0.0},
        ]
        ids = ids[0].tolist()
        facts = {"image": "media/a.png", "modalities": {}, "n_new_tokens": len(ids), "expected_new_ids": ids}
        self.json("generation", {**self.generation, **facts, "user_text": "hello", "compare": compare})

    def gradients(self, loss: Tensor, stage: int) -> dict[str, float]:
        modules = [self.llama, self.input, self.output]
        for module in modules:
            module.zero_grad()
        loss.backward()
        norms = {
            f"llama_model.{n}": self.llama.get_parameter(n) for n in ("model.embed_tokens.weight", "lm_head.weight")
        }
        if stage == 1:
            norms |= {f"llama_proj.{name}": tensor for name, tensor in self.input.named_parameters()}
        else:
            norms |= {f"gen_text_hidden_fcs.0.{name}": tensor for name, tensor in self.output.named_parameters()}
        return {name: tensor.grad.norm().item() for name, tensor in norms.items()}

    # --- files ---------------------------------------------------------------------------------------------------

    def json(self, name: str, facts: dict[str, Any]) -> None:
        (self.folder / f"{name}.json").write_text(json.dumps({"seed": self.seed, **facts}))

    def tensors(self, name: str, tensors: dict[str, Tensor]) -> None:
        kept = {key: tensor.detach().clone().contiguous() for key, tensor in tensors.items()}
        save_file(kept, self.folder / f"{name}.safetensors")


class _Projection(nn.Module):
    """The published projection, out of torch's own parts."""

    def __init__(self, num_out: int, out: int, width: int = 16) -> None:
        super().__init__()
        self.fc, self.model = nn.Linear(WIDTH, width), nn.Linear(width, out)
        self.query_embs = nn.Parameter(torch.randn(1, num_out, width))
        self.tfm = nn.Transformer(width, 4, 3, 3, 24, dropout=0.0, norm_first=True, batch_first=True)

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        return self.model(self.tfm(self.fc(hidden + embeddings), self.query_embs.expand(len(hidden), -1, -1)))


def _padded(rows: list[list[int]], value: int) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, value)
