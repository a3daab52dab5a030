"""The full-size model with random weights: what its parts take, and on a GPU what a whole turn costs.

python bench/full_size.py [--meta] [--memory-plan bf16] [--repeats 3]

Without a GPU (or with --meta) it counts on the meta device, in seconds. On a GPU one turn takes a picture, a sound and
a clip in and makes text, a picture, a sound and a clip, at the checkpoint's default sizes and steps, in 16 bits; no
weights are downloaded, and what is made is noise.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from _common import table

from nextgpt_chat import Audio, Conversation, GenerationSettings, Image, Video
from nextgpt_chat.checkpoints import Manifest, find_checkpoint
from nextgpt_chat.checkpoints.blueprint import Skeleton, blueprint
from nextgpt_chat.checkpoints.devices import choose_dtype
from nextgpt_chat.checkpoints.offloading import OffloadedDecoder, OffloadedEncoder, out_of_memory_in_words
from nextgpt_chat.checkpoints.planning import BUDGETS, GIB, PLANS, PRECISIONS, MemoryPlan, memory_needs
from nextgpt_chat.content import MediaReady, MediaStarted
from nextgpt_chat.decoders.skeleton import build_skeleton
from nextgpt_chat.errors import NextGPTError
from nextgpt_chat.language_model import LanguageModel
from nextgpt_chat.language_model.quantization import quantize
from nextgpt_chat.model import NextGPTModel
from nextgpt_chat.pipeline import NextGPTPipeline
from nextgpt_chat.tokens import SignalTokens, build_tokenizer

# Words of any vocabulary do: the language model knows none of them.
VOCABULARY = Path(__file__).parents[1] / "tests" / "data" / "golden" / "tokenizer" / "tokenizer.model"
STAGES = ("encode", "text", "image", "audio", "video", "total")
KINDS = ("image", "audio", "video")
NEW_TOKENS = 64  # of text; a random model hardly stops by itself


@dataclass(frozen=True)
class Cost:
    """Of one stage: wall seconds, and the most bytes of the device in use (0 on a CPU)."""

    seconds: float
    peak: int


class RandomTokens:
    """A tokenizer that reads nothing: the same ids for every text, as many as it is asked for."""

    def __init__(self, length: int, vocabulary: int) -> None:
        self.model_max_length, self._vocabulary = length, vocabulary

    def __call__(self, texts: list[str], max_length: int, **_: Any) -> Any:
        from transformers import BatchEncoding

        row = torch.arange(max_length) % (self._vocabulary - 3) + 3
        ids = row.repeat(len(texts), 1)
        return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})


def random_pipeline(folder: Path, device: torch.device, dtype: torch.dtype, plan: MemoryPlan) -> NextGPTPipeline:
    """The checkpoint whose sizes are in ``folder``'s manifest, with random weights, laid out as ``plan`` says."""
    from diffusers import DDIMScheduler

    manifest = Manifest.load(folder)
    parts = blueprint(manifest)

    staying = torch.device("cpu") if plan.language_model_on_cpu else device

    def fill(module: torch.nn.Module) -> Any:
        module.to_empty(device=staying).to(dtype)
        for tensor in module.parameters():
            torch.nn.init.normal_(tensor, std=0.02) if tensor.ndim > 1 else torch.nn.init.ones_(tensor)
        return module.eval().requires_grad_(False)

    tokenizer = build_tokenizer(VOCABULARY, SignalTokens())
    # As when loading: in 16 bits it may be larger than the device that it fits in fewer.
    made_on = torch.device("cpu") if plan.bits is not None else staying
    network = _language_model(manifest, parts["language_model"].peft_config["default"], made_on, dtype)
    if plan.bits is not None:
        quantize(network, plan.bits, device)
        network.to(device)
    with torch.device(device):
        imagebind = type(parts["imagebind"])(parts["imagebind"].config)
    imagebind = imagebind.to(dtype).eval().requires_grad_(False)
    decoders: dict[str, Any] = {}
    for kind in manifest.kinds:
        decoder = build_skeleton(kind, Skeleton(folder).decoder_configs(kind), device, dtype)
        config = decoder.text_encoder.config
        length = config.max_position_embeddings - (config.pad_token_id + 1 if kind == "audio" else 0)
        decoder.tokenizer = RandomTokens(length, config.vocab_size)
        decoder.scheduler = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False)
        if kind == "image":
            decoder.safety_checker = None  # it would look at noise, and needs its own preprocessing
        decoders[kind] = OffloadedDecoder(decoder.to("cpu"), device) if plan.offload else decoder
    if plan.offload:
        imagebind = OffloadedEncoder(imagebind.to("cpu"), device)
    outputs = {kind: fill(parts[f"output_projection.{kind}"]) for kind in manifest.kinds}
    model = NextGPTModel(
        imagebind, fill(parts["input_projection"]), LanguageModel(network, tokenizer), outputs, decoders
    )
    pipeline = NextGPTPipeline(model.eval(), manifest)
    pipeline.memory_plan = plan
    return pipeline


def _language_model(manifest: Manifest, lora: Any, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    from peft import get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**manifest.extra["sizes"]["language_model"])
    with torch.device(device):
        network = AutoModelForCausalLM.from_config(config, dtype=dtype)
        return get_peft_model(network, lora).to(dtype).eval().requires_grad_(False)


def files(seed: int) -> tuple[Image, Audio, Video]:
    """One of each, of ordinary sizes, other ones for every seed."""
    noise = np.random.default_rng(seed)
    return (
        Image(noise.integers(0, 255, (480, 640, 3), np.uint8)),
        Audio(noise.uniform(-0.5, 0.5, 5 * 16000).astype(np.float32), 16000),
        Video(noise.integers(0, 255, (16, 240, 320, 3), np.uint8), 8.0),
    )


def whole_turn(pipeline: NextGPTPipeline, seed: int, settings: GenerationSettings | None = None) -> dict[str, Cost]:
    """Costs by stage of one turn with a picture, a sound and a clip in, and text and all three out."""
    device, costs, began = pipeline.device, {}, time.perf_counter()
    pipeline.model.language_model.prefixes.clear()
    _reset(device)

    def since(start: float, stage: str) -> float:
        now = _now(device)
        costs[stage] = Cost(now - start, _peak(device))
        _reset(device)
        return now

    media = files(seed)  # never encoded before
    pipeline.model.encode_media(media)
    mark = since(began, "encode")
    conversation = Conversation()
    conversation.add_user("What is this? Make one like it.", files=list(media))
    settings = (settings or GenerationSettings()).with_value("text.max_new_tokens", NEW_TOKENS)
    wanted = ("text", *KINDS)
    for event in pipeline.stream(conversation, settings, seed, wanted, previews=False):
        if isinstance(event, MediaStarted):
            mark = since(mark, "text") if "text" not in costs else _now(device)
        elif isinstance(event, MediaReady):
            mark = since(mark, event.part.kind)
    if missing := [stage for stage in STAGES[:-1] if stage not in costs]:
        raise NextGPTError(f"The turn made no {', '.join(missing)}: {conversation.turns[-1]}")
    costs["total"] = Cost(_now(device) - began, max(one.peak for one in costs.values()))
    return costs


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def _reset(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def print_sizes(folder: Path) -> None:
    """Parameters and GiB of every part, and the plan that fits the usual GPUs."""
    needs = memory_needs(folder)
    rows = [
        [one.name, f"{one.parameters:,}", *(f"{one.weights[p] / GIB:.2f}" for p in PRECISIONS), f"{one.work / GIB:.2f}"]
        for one in needs.parts
    ]
    sums = [f"{sum(one.weights[p] for one in needs.parts) / GIB:.2f}" for p in PRECISIONS]
    rows.append(["together", f"{sum(one.parameters for one in needs.parts):,}", *sums, ""])
    table(["part", "parameters", *(f"{p}, GiB" for p in PRECISIONS), "working, GiB"], rows)
    print(f"\nCache of one talk: {needs.cache / GIB:.2f} GiB for {needs.context} positions.\n")
    fits = ((budget, needs.best(budget * GIB)) for budget in BUDGETS)
    rows = [[str(b), p.name, f"{needs.peak(p) / GIB:.1f}"] if p else [str(b), "does not fit", ""] for b, p in fits]
    table(["GPU, GiB", "memory plan", "at its peak, GiB (estimated)"], rows)


def print_turns(pipeline: NextGPTPipeline, repeats: int, needs_peak: int) -> None:
    """Median seconds and peak GiB of every stage, after one turn to warm up."""
    whole_turn(pipeline, 0)
    turns = [whole_turn(pipeline, seed) for seed in range(1, repeats + 1)]
    rows = []
    for stage in STAGES:
        seconds = median(turn[stage].seconds for turn in turns)
        rows.append([stage, f"{seconds:.2f}", f"{max(turn[stage].peak for turn in turns) / GIB:.2f}"])
    table(["stage", "seconds", "peak, GiB"], rows)
    print(f"\nPlanned for this memory plan: {needs_peak / GIB:.1f} GiB, driver and libraries included.")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="nextgpt-7b-tiva-v0", help="only its sizes are used")
    parser.add_argument("--device", default="auto", help="a CUDA device (default: the first one, if there is one)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-plan", default="bf16", choices=[name for name in PLANS if "fp32" not in name])
    parser.add_argument("--meta", action="store_true", help="only count, on the meta device")
    parser.add_argument("--gpu", action="store_true", help="refuse to only count")
    options = parser.parse_args(argv)
    try:
        return _measure(options)
    except NextGPTError as error:
        print(f"full_size.py: {error}", file=sys.stderr)
        return 2


def _measure(options: argparse.Namespace) -> int:
    folder = find_checkpoint(options.checkpoint, local_files_only=True)
    asked = options.gpu or options.device.startswith("cuda")
    if asked and not torch.cuda.is_available():
        raise NextGPTError("A turn at full size needs a CUDA device; torch sees none here. --meta counts without one.")
    if options.meta or options.device == "cpu" or not torch.cuda.is_available():
        print_sizes(folder)
        return 0
    device = torch.device("cuda" if options.device == "auto" else options.device)
    plan, needs = PLANS[options.memory_plan], memory_needs(folder)
    dtype = choose_dtype("auto", device)
    print(f"{torch.cuda.get_device_name(device)}, {dtype}, plan {plan.name}\n")
    with out_of_memory_in_words(plan.name):
        print_turns(random_pipeline(folder, device, dtype, plan), max(1, options.repeats), needs.peak(plan))
    return 0


if __name__ == "__main__":
    sys.exit(main())
