"""``new-checkpoint``: an untrained checkpoint around a language model and decoders of one's own."""

from __future__ import annotations

import argparse
from typing import Any

from ..checkpoints.manifest import INPUT_MODES, OUTPUT_MODES, TEMPLATES
from ..content import MEDIA_KINDS
from ..errors import NextGPTError
from .importing import Progress

EXAMPLES = {"image": "Stable Diffusion 1.5", "audio": "AudioLDM", "video": "Zeroscope"}


def add_to(commands: Any) -> None:
    make = commands.add_parser(
        "new-checkpoint",
        help="make an untrained checkpoint around parts of your own",
        description="Joins a causal language model (LLaMA, Mistral or Qwen family), an ImageBind and diffusion "
        "decoders by fresh signal tokens, projections and LoRA. Nothing is written until everything fits. The result "
        "is untrained: `train stage1 --checkpoint DIR` comes next.",
        allow_abbrev=False,
    )
    make.add_argument("--llm", required=True, metavar="DIR_OR_REPO", help="a causal LM in transformers' format")
    for kind in MEDIA_KINDS:
        make.add_argument(
            f"--{kind}", metavar="DIR_OR_REPO", help=f"a diffusers pipeline like {EXAMPLES[kind]}'s; at least one kind"
        )
    make.add_argument(
        "--imagebind", metavar="DIR_OR_FILE", help="a folder of ours or imagebind_huge.pth (default: nextgpt-mini's)"
    )
    make.add_argument("--input-projection", choices=INPUT_MODES, default="linear")
    make.add_argument("--output-projection", choices=OUTPUT_MODES, default="transformer")
    make.add_argument(
        "--output-sizes",
        metavar="H,L,A,F",
        help="hidden width, layers, heads, feed-forward width of the output projections (default: the paper's)",
    )
    make.add_argument("--lora-rank", type=int, default=32, metavar="N", help="default 32")
    make.add_argument("--template", choices=TEMPLATES, default="clean", help="layout of conversations (default clean)")
    make.add_argument("--seed", type=int, default=0, metavar="N", help="of the fresh weights (default 0)")
    make.add_argument("--out", required=True, metavar="DIR", help="a folder that does not exist yet")
    make.set_defaults(run=run_new)


def run_new(arguments: argparse.Namespace) -> int:
    sizes = _sizes(arguments.output_sizes)
    from ..importing.own_checkpoint import OwnChoices, OwnSources, new_checkpoint

    decoders = {kind: given for kind in MEDIA_KINDS if (given := getattr(arguments, kind)) is not None}
    try:
        choices = OwnChoices(
            arguments.input_projection,
            arguments.output_projection,
            sizes,
            arguments.lora_rank,
            arguments.template,
            arguments.seed,
        )
    except ValueError as error:
        raise NextGPTError(f"{error}.") from error
    manifest = new_checkpoint(
        OwnSources(arguments.llm, decoders, arguments.imagebind), arguments.out, choices, Progress()
    )
    print(f"{manifest.name} is in {arguments.out}. Each part keeps its own licence.")
    print(f"It is untrained. Next: python -m nextgpt_chat train stage1 --checkpoint {arguments.out}")
    return 0


def _sizes(text: str | None) -> tuple[int, int, int, int] | None:
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise NextGPTError(f"--output-sizes is {text!r}; give four whole numbers, for example 512,4,4,2048.")
    hidden, layers, heads, inner = (int(part) for part in parts)
    if hidden % heads:
        raise NextGPTError(f"--output-sizes is {text!r}; the hidden width must be a multiple of the heads.")
    return hidden, layers, heads, inner
