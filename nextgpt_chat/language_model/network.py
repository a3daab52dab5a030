"""The language model: a causal LM of transformers, optionally with a LoRA adapter, and its tokenizer.

LLaMA, Mistral and Qwen are tried; what they share has the same names in transformers (``embed_tokens``, ``q_proj``).

Knows ids, embeddings and files; how a reply is decoded is in ``generation``.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import TextSettings
from ..content import MEDIA_KINDS
from ..errors import CheckpointError, LimitError
from ..tokens import PlainTokenizer, SignalIds, SignalTokens
from .generation import ReplyRun, Step
from .prefix_cache import PrefixCache
from .sampling import DEFAULTS, with_defaults

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")


def save_lora_config(config: Any, folder: Path) -> None:
    """Write a peft ``LoraConfig`` as ``adapter_config.json``, the same text in every run: peft keeps the names of its
    modules as a set."""
    if isinstance(config.target_modules, set):
        config = copy.copy(config)
        config.target_modules = sorted(config.target_modules)
    config.save_pretrained(str(folder))


class LanguageModel(nn.Module):
    """``network``: a transformers causal LM or a peft model around one; ``tokenizer``: its fast tokenizer with the
    signal tokens. ``text``, ``signals``: plain tokenizer and signal ids of that vocabulary."""

    def __init__(self, network: nn.Module, tokenizer: Any, signal_tokens: SignalTokens | None = None) -> None:
        super().__init__()
        self.network, self.tokenizer = network, tokenizer
        self.signal_tokens = signal_tokens or SignalTokens()
        self.text = PlainTokenizer(tokenizer)
        self.signals: SignalIds = self.signal_tokens.lookup(tokenizer)
        self.prefixes = PrefixCache()
        rows = self.causal.config.vocab_size
        if rows < len(tokenizer):
            raise CheckpointError(
                f"The language model has {rows} token rows but its tokenizer {len(tokenizer)} tokens. "
                "They do not belong together; import or download the checkpoint again."
            )
        eos = getattr(self.causal.generation_config, "eos_token_id", None)
        eos = eos if isinstance(eos, (list, tuple)) else [eos]
        self.eos_ids = frozenset(i for i in (*eos, tokenizer.eos_token_id) if i is not None)
        # Never sampled: control tokens, media marks, signal tokens that do not begin a group, rows without a token.
        firsts = {ids[0] for ids in self.signals.groups.values()}
        banned = (set(self.text.control_ids) | set(self.signals.all)) - firsts - self.eos_ids
        self.banned = torch.tensor(sorted({*banned, *range(len(tokenizer), rows)}), dtype=torch.long)

    @property
    def causal(self) -> nn.Module:
        """The causal LM itself; an adapter's layers sit inside it."""
        return self.network.get_base_model() if hasattr(self.network, "peft_config") else self.network

    @property
    def width(self) -> int:
        """D, the width of embeddings and states."""
        return self.causal.config.hidden_size

    @property
    def context(self) -> int:
        """Longest sequence of positions."""
        return self.causal.config.max_position_embeddings

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    def train(self, mode: bool = True) -> LanguageModel:
        """As ``nn.Module.train``; cached prefixes are forgotten, because weights may change between the modes."""
        self.prefixes.clear()
        return super().train(mode)

    # --- files -------------------------------------------------------------------------------------------------

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        adapter: str | Path | None = None,
        *,
        signal_tokens: SignalTokens | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        trainable: bool = False,
    ) -> LanguageModel:
        """Open a transformers folder and, if given, a LoRA adapter folder. Raises CheckpointError if it cannot be."""
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            network, report = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, local_files_only=True, output_loading_info=True
            )
            if report["missing_keys"]:
                raise KeyError(
                    f"{len(report['missing_keys'])} tensors are missing, {min(report['missing_keys'])} first"
                )
            if adapter is not None:
                from peft import PeftModel

                # By itself peft reads onto the first GPU, whatever the device, and widens halves to fp32.
                network = PeftModel.from_pretrained(
                    network,
                    str(adapter),
                    is_trainable=trainable,
                    torch_device="cpu",
                    autocast_adapter_dtype=trainable,
                )
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
            where = folder if adapter is None else f"{folder} with the adapter {adapter}"
            raise CheckpointError(f"The language model in {where} could not be opened: {error}") from error
        return cls(network.to(device).eval(), tokenizer, signal_tokens)

    def save(
        self,
        folder: str | Path,
        adapter: str | Path | None = None,
        dtype: torch.dtype | None = None,
        max_shard_size: str = "5GB",
    ) -> None:
        """Write model and tokenizer to ``folder`` and the LoRA adapter, if there is one, to the folder ``adapter``.

        Trained token rows (``add_adapter``) are written into the model's own rows. Raises ValueError for an adapter
        without a place to go.
        """
        from huggingface_hub import save_torch_state_dict

        lora = self._lora()
        if lora and adapter is None:
            raise ValueError("this language model has a LoRA adapter; say in which folder to save it")
        Path(folder).mkdir(parents=True, exist_ok=True)
        state = {k: v.to(dtype or v.dtype).contiguous().cpu() for k, v in self._base_state().items()}
        if self.causal.config.tie_word_embeddings:
            state.pop("lm_head.weight", None)
        # Written aside and moved: the weights being saved may be mapped from the very files they replace.
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            pattern = "model{suffix}.safetensors"
            save_torch_state_dict(state, aside, filename_pattern=pattern, max_shard_size=max_shard_size)
            for old in Path(folder).glob("model*.safetensors*"):
                old.unlink()
            for new in Path(aside).iterdir():
                new.replace(Path(folder, new.name))
        config = copy.deepcopy(self.causal.config)
        config.architectures, config.dtype = [type(self.causal).__name__], dtype or self.dtype
        config.save_pretrained(folder)
        self.causal.generation_config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        if lora:
            self._save_lora(Path(folder), Path(adapter), lora, dtype)

    def add_adapter(
        self,
        rank: int = 0,
        alpha: float | None = None,
        dropout: float = 0.1,
        targets: Sequence[str] = LORA_TARGETS,
        token_rows: Collection[int] = (),
    ) -> None:
        """Freeze everything, then make trainable: LoRA of ``rank`` (0 = none; scale alpha / rank, default 1) and the
        rows ``token_rows`` of the embedding and of the output head.

        A LoRA that is there already stays as it is, with its own rank, scale and targets; with a ``rank`` it is trained
        on, without one it is frozen.
        """
        from peft import LoraConfig, TrainableTokensConfig, get_peft_model

        rows, layers = sorted(token_rows), ["embed_tokens", "lm_head"]
        if self.causal.config.tie_word_embeddings:
            layers = layers[:1]
        if not rank and not rows:
            raise ValueError("an adapter needs a rank, token rows, or both")
        indices = {layer: rows for layer in layers} if rows else None
        self.prefixes.clear()
        if self.network is not self.causal:
            self._extend_lora(indices, trained=rank > 0)
            return
        if rank:
            config = LoraConfig(
                r=rank,
                lora_alpha=rank if alpha is None else alpha,
                lora_dropout=dropout,
                target_modules=list(targets),
                trainable_token_indices=indices,
                task_type="CAUSAL_LM",
            )
        else:
            config = TrainableTokensConfig(token_indices=rows, target_modules=layers, task_type="CAUSAL_LM")
        self.network = get_peft_model(self.network, config)

    def _extend_lora(self, indices: dict[str, list[int]] | None, trained: bool) -> None:
        """The LoRA that is there, once more, with token rows beside it."""
        from peft import get_peft_model

        config, lora = self.network.peft_config["default"], self._lora()
        if not lora or config.trainable_token_indices:
            raise ValueError("this language model already has an adapter with token rows")
        state = {key: value.detach().clone() for key, value in lora.items()}
        config = replace(config, trainable_token_indices=indices, inference_mode=False, base_model_name_or_path=None)
        self.network = get_peft_model(self.network.unload(), config)
        for name, parameter in self.network.named_parameters():
            if "lora_" in name:
                parameter.data.copy_(state[name.replace(".default.", ".")])
                parameter.requires_grad_(trained)

    def _lora(self) -> dict[str, Tensor]:
        if not hasattr(self.network, "peft_config"):
            return {}
        from peft import get_peft_model_state_dict

        state = get_peft_model_state_dict(self.network, save_embedding_layers=False)
        return {key: value for key, value in state.items() if "lora_" in key}

    def _save_lora(self, base: Path, folder: Path, lora: dict[str, Tensor], dtype: torch.dtype | None) -> None:
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        config = replace(
            self.network.peft_config["default"],
            base_model_name_or_path=f"../{base.name}",
            trainable_token_indices=None,
            inference_mode=True,
        )
        save_lora_config(config, folder)
        state = {key: value.detach().to(dtype or value.dtype).contiguous().cpu() for key, value in lora.items()}
        save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def _base_state(self) -> dict[str, Tensor]:
        """The causal LM's own tensors: adapters left out, trained rows put in their places."""
        state = {}
        for key, value in self.causal.state_dict().items():
            if "lora_" not in key and "trainable_tokens_" not in key:
                state[key.replace(".token_adapter", "").replace(".base_layer", "")] = value.detach()
        if self.network is self.causal:
            return state
        from peft.tuners.trainable_tokens.layer import TrainableTokensLayer

        for name, module in self.causal.named_modules():
            if isinstance(module, TrainableTokensLayer):
                key = f"{name.removesuffix('.token_adapter')}.weight"
                state[key] = module.get_merged_weights(module.active_adapters).detach()
        return state

    # --- forward -----------------------------------------------------------------------------------------------

    def embed(self, ids: Tensor | Sequence[int]) -> Tensor:
        """Input embeddings: ids (…,) → (…, D)."""
        return self.causal.get_input_embeddings()(torch.as_tensor(ids, dtype=torch.long, device=self.device))

    def states(self, embeds: Tensor, attention_mask: Tensor | None = None, cache: Any = None) -> Tensor:
        """Last-layer states after the final norm: (B, n, D) → (B, n, D); a cache is read and extended."""
        output = self.causal.base_model(
            inputs_embeds=embeds,
            attention_mask=attention_mask,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return output.last_hidden_state

    def logits(self, states: Tensor) -> Tensor:
        """(…, D) → (…, V)."""
        return self.causal.get_output_embeddings()(states)

    # --- generation --------------------------------------------------------------------------------------------

    def new_cache(self) -> Any:
        """An empty key/value cache, one that can be shortened wherever the architecture allows it."""
        from transformers import DynamicCache

        config = self.causal.config
        if set(getattr(config, "layer_types", None) or ["full_attention"]) <= {"full_attention", "sliding_attention"}:
            # Made without the configuration it keeps every position. Layers with a sliding window (Mistral) mask what
            # lies outside of it all the same, but a cache that forgets could neither be remembered nor taken back.
            return DynamicCache() if getattr(config, "sliding_window", None) else DynamicCache(config=config)
        return DynamicCache(config=config)

    def generate(
        self,
        inputs_embeds: Tensor,
        settings: TextSettings = DEFAULTS,
        *,
        generator: torch.Generator | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        keys: Sequence[Hashable] | None = None,
        modalities: Collection[str] | None = None,
        max_groups: int = 4,
        stops: Sequence[str] = ("###",),
    ) -> Iterator[Step]:
        """Continue ``inputs_embeds`` (1, n, D), step by step; the last step is ``Ended``.

        ``keys``: one key a position (``Prompt.keys``), to reuse the cache of a common prefix. ``modalities`` None: the
        model decides, at most ``max_groups`` groups in all; else exactly one group of each medium named (a missing one
        is begun where the model would end) and none of the others. When the first token of a group is sampled, the
        rest is filled in one forward pass. Raises LimitError if the prompt leaves no room for a reply.
        """
        n = inputs_embeds.shape[1]
        if keys is not None and len(keys) != n:
            raise ValueError(f"{len(keys)} keys for {n} positions")
        if n >= self.context:
            raise LimitError(f"The prompt takes {n} positions of {self.context}; shorten it to leave room for a reply.")
        wanted = [k for k in MEDIA_KINDS if k in self.signals.groups and modalities is not None and k in modalities]
        run = ReplyRun(
            self, inputs_embeds, keys, with_defaults(settings), generator, stops, wanted, modalities, max_groups
        )
        try:
            yield from run.steps(should_stop)
        finally:
            run.keep_cache()
