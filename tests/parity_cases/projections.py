"""Output projections alone: the transformer of each kind, and the q-former."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch

from nextgpt_chat.projections import rename_published_layer

from .comparing import Case, Check, Rules
from .folder import GoldenFolder
from .published import output_projection


def find(golden: GoldenFolder) -> Iterator[Case]:
    """One case a file ``outproj_NAME.json``."""
    for path in sorted(golden.path.glob("outproj_*.json")):
        name = path.stem.removeprefix("outproj_")
        work = functools.partial(_run, golden, path.stem)
        try:
            rules = Rules(golden.json(path.name), path.name)
        except Exception as error:
            yield Case(f"output projection {name}", functools.partial(_refuse, error))
        else:
            yield Case(f"output projection {name}", work, rules)


def _refuse(error: Exception, check: Check) -> None:
    raise error


def _run(golden: GoldenFolder, file: str, check: Check) -> None:
    sizes, tensors = golden.json(f"{file}.json")["config"], golden.tensors(file)
    state = {rename_published_layer(k.removeprefix("sd.")): v for k, v in tensors.items() if k.startswith("sd.")}
    mode = "qformer" if "query_tokens" in state else "transformer"
    # The transformer's heads are a constant of the original's code; a BERT's are in its configuration.
    heads = sizes.get("bert", {}).get("num_attention_heads", sizes.get("nhead", 4))
    projection = output_projection(state, sizes["num_input_tokens"], mode, heads)
    config = projection.config
    ours = (config.in_dim, config.out_dim, config.num_out, config.hidden)
    theirs = tuple(sizes[name] for name in ("in_dim", "out_dim", "num_output_tokens", "hidden_dim"))
    check.require(ours == theirs, f"sizes read from the weights are {ours}, the description says {theirs}")
    with torch.no_grad():
        output = projection(golden.tensor(file, "hidden"), golden.tensor(file, "input_embs"))
    check.compare("output", output, golden.tensor(file, "output"))
