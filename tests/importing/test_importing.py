"""The published weights, imported: what goes in comes out, and what is wrong is said before anything is written."""

import json
import shutil
import weakref

import pytest
import torch
from published import (
    ADDED,
    RANK,
    SPELLED,
    published_state,
    write_added_tokens,
    write_delta,
    write_language_model,
)
from safetensors.torch import load_file
from tiny import tiny_image
from transformers import AutoTokenizer

from nextgpt_chat.checkpoints import Manifest, shipped_checkpoints
from nextgpt_chat.cli import main
from nextgpt_chat.config import GenerationSettings
from nextgpt_chat.content import MediaPart
from nextgpt_chat.conversation import Conversation
from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.importing.base_model import add_rows
from nextgpt_chat.importing.media_encoder import imagebind_config
from nextgpt_chat.importing.published import our_name, published_name, read_published
from nextgpt_chat.importing.shards import Entry, plan_shards, write_tensors
from nextgpt_chat.importing.tensors import TensorSource
from nextgpt_chat.pipeline import NextGPTPipeline
from nextgpt_chat.tokens import SignalTokens

SMALL = {
    "text.max_new_tokens": "8",
    "image.steps": 2,
    "image.width": 32,
    "image.height": 32,
    "audio.steps": 2,
    "audio.seconds": 0.5,
    "video.steps": 2,
    "video.frames": 2,
    "video.width": 32,
    "video.height": 32,
}


def small_settings():
    settings = GenerationSettings()
    for name, value in SMALL.items():
        settings = settings.with_value(name, value)
    return settings


# --- what comes out --------------------------------------------------------------------------------------------


def test_an_imported_checkpoint_replies_in_every_modality(imported):
    pipeline = NextGPTPipeline.from_pretrained(imported, device="cpu")
    conversation = Conversation()
    conversation.add_user("what is in this picture?", [tiny_image(90)])
    reply = pipeline.reply(conversation, small_settings(), seed=1, modalities={"text", "image", "audio", "video"})
    assert [part.kind for part in reply.parts if isinstance(part, MediaPart)] == ["image", "audio", "video"]
    assert pipeline.manifest.template == "v0" and not reply.cancelled


def test_every_published_number_arrives(originals, imported):
    state = originals.state()
    written = load_file(imported / "projections.safetensors")
    written |= load_file(imported / "language_model" / "model.safetensors")
    written |= load_file(imported / "adapter" / "adapter_model.safetensors")
    for key, tensor in state.items():
        _, name = our_name(key)
        assert torch.equal(written.pop(name), tensor.data), key
    base = TensorSource(originals.llm, "base")
    assert written and all(torch.equal(tensor, base.get(name)) for name, tensor in written.items())


def test_the_adapter_does_what_lora_of_the_original_does(originals, imported):
    """W + B A with scale 1 in every projection, against plain matrix arithmetic."""
    from transformers import AutoModelForCausalLM

    pipeline = NextGPTPipeline.from_pretrained(imported, device="cpu")
    state = originals.state()
    merged = AutoModelForCausalLM.from_pretrained(imported / "language_model", dtype=torch.float32).eval()
    for name, weight in merged.named_parameters():
        stem = f"llama_model.base_model.model.{name.removesuffix('.weight')}.lora"
        if f"{stem}_A.default.weight" in state:
            low, high = (state[f"{stem}_{side}.default.weight"].data.float() for side in "AB")
            weight.data += high @ low
    ids = torch.tensor([[1, 9, 40, 200, 5]])
    states = pipeline.model.language_model.states(pipeline.model.language_model.embed(ids))
    torch.testing.assert_close(states, merged.model(ids).last_hidden_state, atol=2e-4, rtol=1e-3)
    targets = json.loads((imported / "adapter" / "adapter_config.json").read_text())["target_modules"]
    assert targets == sorted(targets) and len(targets) > 1  # the same file each time


def test_signal_tokens_have_the_ids_of_the_weights(originals, imported):
    lm = NextGPTPipeline.from_pretrained(imported, device="cpu").model.language_model
    first = originals.pieces + 2
    assert lm.signals.groups["image"] == tuple(range(first, first + 4))
    assert lm.signals.groups["video"] == tuple(range(first + 4, first + 28))
    assert lm.signals.groups["audio"] == tuple(range(first + 28, first + 36))
    assert lm.causal.config.vocab_size == len(lm.tokenizer) == originals.pieces + len(ADDED)


@pytest.mark.parametrize(
    ("beside", "switch", "mode"),
    [
        (SPELLED, "auto", "text"),
        (ADDED, "auto", "real"),
        (None, "auto", "real"),
        (None, "text", "text"),
        (ADDED, "text", "text"),
    ],
)
def test_img_tokens_follow_the_file_or_the_switch(published, tmp_path, capsys, beside, switch, mode):
    if beside is None:
        (published.nextgpt.parent / "added_tokens.json").unlink()
    else:
        write_added_tokens(published, beside)
    assert main([*published.arguments(tmp_path / "new"), "--img-tokens", switch]) == 0
    out, err = capsys.readouterr()
    assert ("Nothing says whether <Img>" in err) == (beside is None and switch == "auto")
    assert ("<Img> is a token" in out) == (mode == "real")
    signals = SignalTokens().lookup(AutoTokenizer.from_pretrained(tmp_path / "new" / "language_model"))
    assert signals.open == (published.pieces if mode == "real" else None)
    assert signals.groups["image"][0] == published.pieces + 2
    assert Manifest.load(tmp_path / "new").extra["img_tokens"]["mode"] == mode


def test_unused_towers_stay_behind(imported):
    names = load_file(imported / "imagebind" / "model.safetensors").keys()
    assert {name.split(".")[1] for name in names} == {"vision", "audio"}


def test_a_file_of_stage_two_has_no_adapter(published, tmp_path):
    torch.save(published_state(published.pieces + len(ADDED), stage=2), published.nextgpt)
    assert main(published.arguments(tmp_path / "new")) == 0
    assert not (tmp_path / "new" / "adapter").exists()
    assert NextGPTPipeline.from_pretrained(tmp_path / "new", device="cpu").modalities[0] == "text"


def test_a_delta_gives_the_merged_model(published, tmp_path):
    write_language_model(tmp_path / "llama-7b")
    base = TensorSource(tmp_path / "llama-7b", "base")
    for file in base.files:  # another LLaMA than the target
        torch.save({name: base.get(name) * 0.5 + 0.25 for name in base.facts if base.facts[name].file == file}, file)
    write_delta(tmp_path / "llama-7b", published.llm, tmp_path / "vicuna-7b-delta-v0")
    arguments = published.arguments(tmp_path / "new")
    arguments[arguments.index("--llm") + 1] = str(tmp_path / "llama-7b")
    assert main([*arguments, "--llm-delta", str(tmp_path / "vicuna-7b-delta-v0")]) == 0
    first, second = TensorSource(published.llm, "target"), TensorSource(tmp_path / "new" / "language_model", "merged")
    for name in second.shapes.keys() - {"model.embed_tokens.weight", "lm_head.weight"}:
        torch.testing.assert_close(second.get(name), first.get(name), atol=2e-3, rtol=2e-3)
    assert Manifest.load(tmp_path / "new").extra["imported_from"]["llm_delta_merged"]


def test_rows_that_only_the_delta_has_are_added_to_zeros():
    base, delta = torch.ones(3, 2, dtype=torch.float16), torch.full((4, 2), 0.5, dtype=torch.float16)
    assert torch.equal(add_rows(base, delta), torch.tensor([[1.5] * 2] * 3 + [[0.5] * 2], dtype=torch.float16))
    with pytest.raises(ValueError, match="does not fit"):
        add_rows(delta, base)


def test_pickled_decoders_become_safetensors(published, tmp_path):
    unet = published.decoders["image"] / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(unet), unet.with_suffix(".bin"))
    expected = load_file(unet)
    unet.unlink()
    assert main(published.arguments(tmp_path / "new")) == 0
    written = tmp_path / "new" / "image_decoder" / "unet"
    assert not list(written.glob("*.bin"))
    assert all(torch.equal(load_file(written / unet.name)[name], value) for name, value in expected.items())


def test_weights_in_shards_are_the_same_weights(published, imported, tmp_path):
    assert main([*published.arguments(tmp_path / "new"), "--max-shard", "0.03"]) == 0
    assert len(list((tmp_path / "new" / "language_model").glob("*.safetensors"))) > 4
    assert (tmp_path / "new" / "projections.safetensors.index.json").is_file()
    pipelines = [NextGPTPipeline.from_pretrained(folder, device="cpu") for folder in (imported, tmp_path / "new")]
    states = [pipeline.model.state_dict() for pipeline in pipelines]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_shipped_manifest_is_filled_in_where_it_lies(published, tmp_path):
    out = tmp_path / "nextgpt-7b-tiva-v0"
    shutil.copytree(shipped_checkpoints()["nextgpt-7b-tiva-v0"], out)
    with pytest.raises(CheckpointError, match="download nextgpt-7b-tiva-v0"):
        NextGPTPipeline.from_pretrained(out, device="cpu")
    assert main(published.arguments(out)) == 0
    assert (out / "README.md").read_text().startswith("# nextgpt-7b-tiva-v0") and (out / ".gitignore").is_file()
    assert main(published.arguments(out)) == 0  # and again, in place of the first
    assert NextGPTPipeline.from_pretrained(out, device="cpu").name == "nextgpt-7b-tiva-v0"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", out.name]


# --- memory ----------------------------------------------------------------------------------------------------


def test_never_more_than_one_tensor_of_each_source_is_alive(published, tmp_path, monkeypatch):
    """A shard holds many tensors; counted are the bytes of those that are held while it is written."""
    alive, most = {}, 0
    get = TensorSource.get

    def counted(self, name):
        nonlocal most
        tensor = get(self, name)
        number = len(alive)
        alive[number] = tensor.numel() * tensor.element_size()
        weakref.finalize(tensor, alive.__setitem__, number, 0)
        most = max(most, sum(alive.values()))
        return tensor

    monkeypatch.setattr(TensorSource, "get", counted)
    assert main([*published.arguments(tmp_path / "new"), "--max-shard", "0.1"]) == 0
    shards = list((tmp_path / "new" / "language_model").glob("*.safetensors"))
    largest = max(path.stat().st_size for path in shards)
    assert len(shards) > 2 and len(alive) > 100
    assert 0 < most <= largest < sum(path.stat().st_size for path in shards) / 2


def test_what_is_streamed_is_what_safetensors_writes(tmp_path):
    tensors = {
        "a": torch.randn(3, 5).half(),
        "b": torch.arange(7),
        "c": torch.tensor(2.5, dtype=torch.bfloat16),
        "d": torch.zeros(0, 4),
        "e": torch.randn(3001, 2001).half().t(),
    }
    entries = [
        Entry(name, tuple(value.shape), lambda value=value: [value], value.dtype) for name, value in tensors.items()
    ]
    write_tensors(tmp_path, "x", entries)
    read = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(read[name], value) and read[name].dtype == value.dtype for name, value in tensors.items())


def test_a_shard_takes_as_much_as_fits():
    entries = [Entry(str(size), (size,), list, torch.uint8) for size in (4, 4, 9, 1, 1)]
    assert [[entry.name for entry in shard] for shard in plan_shards(entries, 8)] == [["4", "4"], ["9"], ["1", "1"]]


# --- names and sizes -------------------------------------------------------------------------------------------


def test_names_go_both_ways(originals):
    state = originals.state()
    for key in state:
        assert published_name(*our_name(key)) == key
    assert our_name("visual_encoder.anything") is None
    with pytest.raises(ValueError, match="holds no"):
        published_name("language_model", "model.norm.weight")


def test_tensors_without_meaning_are_named(originals):
    shapes = {key: tuple(value.shape) for key, value in originals.state().items()}
    found = read_published(shapes | {"extra.weight": (1,), "llama_model.input_embeddings.weight": (3, 3)}, "the file")
    assert found.unknown == ("extra.weight",) and found.rank == RANK and found.base_rows == originals.pieces


def test_sizes_of_imagebind_are_read_from_its_tensors(originals):
    from tiny_checkpoint import IMAGEBIND

    config, warnings = imagebind_config(TensorSource(originals.imagebind, "x").shapes, "x")
    read = ("embedding_dim", "image_size", "patch_size", "vision_width", "vision_depth", "audio_width", "audio_depth")
    assert all(getattr(config, name) == getattr(IMAGEBIND, name) for name in (*read, "audio_kernel", "audio_stride"))
    assert config.text_depth == 0 and "attention heads" in warnings[0]
