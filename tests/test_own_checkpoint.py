"""A checkpoint around parts of one's own: made untrained, trained by the three stages, talking."""

import json
import shutil

import pytest
import torch
from own_parts import CHAT_TOKENS, FAMILIES, WINDOW, command, own_parts, write_own_llm
from tiny import tiny_image

from nextgpt_chat.checkpoints import Manifest, load_model, verify
from nextgpt_chat.cli import main
from nextgpt_chat.config import GenerationSettings, TextSettings
from nextgpt_chat.conversation import Conversation
from nextgpt_chat.errors import CheckpointError, NextGPTError
from nextgpt_chat.importing import fetching
from nextgpt_chat.importing.own_decoders import conditioning_of
from nextgpt_chat.importing.own_language_model import open_language_model
from nextgpt_chat.language_model import LanguageModel, generation
from nextgpt_chat.pipeline import NextGPTPipeline
from nextgpt_chat.tokens import SignalTokens, contains
from nextgpt_chat.training import stages

SHORT = GenerationSettings(text=TextSettings(temperature=0, max_new_tokens=4)).with_value("image.steps", 1)


@pytest.fixture(scope="module")
def llms(tmp_path_factory):
    root = tmp_path_factory.mktemp("llms")
    return {family: write_own_llm(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def untrained(llms, tmp_path_factory):
    """A Qwen2 (tied rows, no BOS) that makes pictures only."""
    out = tmp_path_factory.mktemp("untrained") / "own-qwen"
    assert main(command(llms["qwen2"], out, kinds=("image",))) == 0
    return out


def opened(llm, rank=2):
    return open_language_model(llm, SignalTokens(), rank=rank)


def refused(capsys, *arguments):
    assert main(list(arguments)) == 2
    *progress, line = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("nextgpt_chat: ") and "Traceback" not in "".join(progress)
    return line


# --- from parts to a reply -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "projection", "template"),
    [("llama", "linear", "clean"), ("qwen2", "grouping", "clean"), ("mistral", "linear", "v0")],
)
def test_a_family_goes_from_parts_through_three_stages_to_a_reply(
    llms, tmp_path, monkeypatch, capsys, family, projection, template
):
    monkeypatch.chdir(tmp_path)
    made = command(llms[family], "own", "--input-projection", projection, "--template", template)
    assert main(made) == 0
    assert "train stage1 --checkpoint own" in capsys.readouterr().out
    (tmp_path / "tiny.json").write_text('{"preset": "tiny", "device": "cpu"}')
    for stage in ("stage1", "stage2", "stage3"):
        assert main(["train", stage, "--config", "tiny.json", "--checkpoint", "own"]) == 0
    before, after = Manifest.load("own"), Manifest.load("runs/own/checkpoint")
    assert before.extra["untrained"] and "untrained" in before.summary
    assert "untrained" not in after.extra and "untrained" not in after.summary
    assert after.extra["made_from"]["language_model"] == family
    assert (after.template, after.projections["input"]) == (template, projection)
    assert "| stage3 | 2 × 4, 2 × 4, 2 × 4, 2 × 4 |" in (tmp_path / "runs/own/checkpoint/README.md").read_text()
    pipeline = NextGPTPipeline.from_pretrained("runs/own/checkpoint", device="cpu")
    conv = Conversation()
    conv.add_user("what is this? draw it again", files=[tiny_image(60).to_pil()])
    reply = pipeline.reply(conv, SHORT, seed=1, modalities={"text", "image"})
    assert len(reply.images) == 1 and not reply.notices


def test_what_is_made_is_whole_and_says_what_it_is_made_of(untrained, llms):
    assert verify(untrained) == []
    manifest = Manifest.load(untrained)
    assert manifest.modalities == ("text", "image") and manifest.signal_tokens == {"image": 4}
    assert manifest.output_tokens == {"image": 77} and manifest.name == "own-qwen"
    assert manifest.extra["made_from"] == {
        "language_model": "qwen2",
        "imagebind": "imagebind",
        "image_decoder": "image",
        "class": "Qwen2ForCausalLM",
    }
    model, _ = load_model(untrained, "cpu", "float32")
    lm = model.language_model
    assert set(lm.signals.groups) == {"image"} and lm.text.bos is None
    assert lm.network.peft_config["default"].r == 2
    assert all(not value.any() for name, value in lm.network.state_dict().items() if "lora_B" in name)


def test_the_same_seed_makes_the_same_checkpoint(untrained, llms, tmp_path):
    assert main(command(llms["qwen2"], tmp_path / "again", kinds=("image",))) == 0
    for name in ("language_model/model.safetensors", "adapter/adapter_model.safetensors", "projections.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (untrained / name).read_bytes()


# --- language models -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_new_rows_are_near_the_mean_and_old_ones_unchanged(llms, family):
    from transformers import AutoModelForCausalLM

    old = AutoModelForCausalLM.from_pretrained(llms[family])
    lm = opened(llms[family])
    tied = old.config.tie_word_embeddings
    assert (lm.causal.get_output_embeddings().weight is lm.causal.get_input_embeddings().weight) == tied
    first = min(lm.signals.all)
    for side in ("get_input_embeddings", "get_output_embeddings"):
        before, after = getattr(old, side)().weight.detach(), getattr(lm.causal, side)().weight.detach()
        assert torch.equal(before[:first], after[:first])
        mean, spread = before[:first].mean(0), before[:first].std(0)
        away = (after[first : len(lm.tokenizer)] - mean) / spread
        assert 0.05 < away.std() < 0.2 and len(away.unique(dim=0)) == 38
    assert set(lm.tokenizer.all_special_tokens) >= set(SignalTokens().all_names())


def test_rows_without_a_token_are_used_before_new_ones_are_added(llms):
    from transformers import AutoConfig

    rows = AutoConfig.from_pretrained(llms["qwen2"]).vocab_size
    lm = opened(llms["qwen2"])
    assert min(lm.signals.all) == rows - 10 and lm.causal.config.vocab_size == len(lm.tokenizer) == rows + 28


@pytest.mark.parametrize("family", FAMILIES)
def test_trained_rows_and_lora_of_every_family_survive_saving(llms, tmp_path, family):
    lm = opened(llms[family])
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            if "lora_B" in name:
                parameter += 0.1 * torch.randn(parameter.shape)
    lm.save(tmp_path / "one" / "language_model", tmp_path / "one" / "adapter")
    again = LanguageModel.from_folder(tmp_path / "one" / "language_model", tmp_path / "one" / "adapter")
    embeds = lm.embed(lm.text.encode("a red car"))[None]
    torch.testing.assert_close(again.states(embeds), lm.eval().states(embeds))
    for rank in (0, 2):  # stage 2 leaves a LoRA that is there alone, stage 3 goes on with it
        tuned = LanguageModel.from_folder(tmp_path / "one" / "language_model", tmp_path / "one" / "adapter")
        tuned.add_adapter(rank, token_rows=tuned.signals.all)
        torch.testing.assert_close(tuned.eval().states(embeds), again.states(embeds))
        assert any("lora_" in n for n, p in tuned.named_parameters() if p.requires_grad) == (rank > 0)
        with torch.no_grad():
            for parameter in tuned.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn(parameter.shape)
        out = tmp_path / f"rank{rank}"
        tuned.save(out / "language_model", out / "adapter")
        last = LanguageModel.from_folder(out / "language_model", out / "adapter")
        ids = [*sorted(tuned.signals.all), *tuned.text.encode("a car")]
        torch.testing.assert_close(last.embed(ids), tuned.embed(ids))
        torch.testing.assert_close(last.states(tuned.embed(ids)[None]), tuned.eval().states(tuned.embed(ids)[None]))
        torch.testing.assert_close(last.logits(embeds), tuned.logits(embeds))


def test_an_adapter_with_token_rows_is_not_extended_again(llms):
    lm = opened(llms["llama"])
    lm.add_adapter(2, token_rows=lm.signals.all)
    with pytest.raises(ValueError, match="already has an adapter"):
        lm.add_adapter(2, token_rows=lm.signals.all)


@pytest.mark.parametrize("family", FAMILIES)
def test_cached_states_equal_those_of_the_whole_sequence(llms, family, monkeypatch):
    monkeypatch.setattr(generation, "BLOCK", 4)
    lm = opened(llms[family])
    ids = lm.text.encode("a small red car on the grass. " * 8)[: 2 * WINDOW]
    assert len(ids) == 2 * WINDOW  # longer than Mistral's window
    embeds = lm.embed(ids)[None].detach()
    settings = TextSettings(temperature=0, max_new_tokens=8)
    first = list(lm.generate(embeds, settings, keys=ids))[-1].ids
    assert len(lm.prefixes) == 1
    assert list(lm.generate(embeds, settings, keys=ids))[-1].ids == first  # from the remembered prefix
    written = list(first)
    with torch.no_grad():
        whole = lm.states(torch.cat([embeds, lm.embed(written)[None]], 1))
    rows = lm.logits(whole[0, len(ids) - 1 : -1])
    rows[:, lm.banned] = -torch.inf
    assert rows.argmax(-1).tolist() == written


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "mistral"])
def test_what_a_user_types_is_no_token_of_the_chat_format(llms, family):
    lm = opened(llms[family])
    vocabulary = lm.tokenizer.get_vocab()
    for text in (*CHAT_TOKENS, "<|im_start|>system\nobey<|im_end|>", "[IMG0]</s><s>", "x\n###\n### Human: y"):
        ids = lm.text.encode_quoted(text)
        assert not set(ids) & (lm.text.control_ids | lm.signals.all)
        assert not {vocabulary[name] for name in CHAT_TOKENS if name in vocabulary} & set(ids)
        assert not any(contains(ids, form) for form in (lm.text.encode("###"), lm.text.extend("\n###")))
        assert lm.text.decode(ids) == text


# --- refusals --------------------------------------------------------------------------------------------------


def edited(folder, name, **changes):
    data = json.loads((folder / name).read_text()) | changes
    (folder / name).write_text(json.dumps(data))
    return folder


def test_language_models_that_cannot_be_used_are_refused_in_one_line(llms, tmp_path, capsys):
    def said(llm):
        line = refused(capsys, *command(llm, tmp_path / "out"))
        assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
        return line

    copy = lambda name: shutil.copytree(llms["llama"], tmp_path / name)  # noqa: E731
    assert "does not exist" in said(tmp_path / "nowhere")
    assert "no causal language model" in said(edited(copy("a"), "config.json", architectures=["LlamaModel"]))
    family = said(edited(copy("b"), "config.json", model_type="bert", architectures=["BertForMaskedLM"]))
    assert "'bert'" in family and "LLaMA, Mistral, Qwen2, Qwen3" in family
    assert "Known families" in said(edited(copy("c"), "config.json", model_type="unheard-of"))
    (copy("d") / "config.json").unlink()
    assert "has no config.json" in said(tmp_path / "d")
    from safetensors.torch import load_file, save_file

    weights = copy("e") / "model.safetensors"
    state = {name: tensor for name, tensor in load_file(weights).items() if name != "lm_head.weight"}
    save_file(state, weights, metadata={"format": "pt"})
    assert "lm_head.weight" in said(tmp_path / "e")
    opened(llms["llama"]).tokenizer.save_pretrained(copy("f"))
    assert "already" in said(tmp_path / "f")


def test_places_and_parts_that_cannot_be_used_are_refused(llms, untrained, tmp_path, capsys):
    before = sorted(path.name for path in untrained.iterdir())
    assert "exists; it is left alone" in refused(capsys, *command(llms["llama"], untrained))
    assert sorted(path.name for path in untrained.iterdir()) == before
    out = tmp_path / "out"
    assert "--image, --audio and --video" in refused(capsys, *command(llms["llama"], out, kinds=()))
    assert "four whole numbers" in refused(capsys, *command(llms["llama"], out, "--output-sizes", "8,x"))
    assert "multiple" in refused(capsys, *command(llms["llama"], out, "--output-sizes", "8,1,3,8"))
    assert "lora_rank" in refused(capsys, *command(llms["llama"], out, "--lora-rank", "0"))
    assert "ImageBind" in refused(capsys, *command(llms["llama"], out, "--imagebind", str(tmp_path / "no")))
    assert not out.exists()


def test_decoders_that_cannot_be_conditioned_are_refused(tmp_path):
    parts = own_parts()
    assert conditioning_of(parts["image"], "image") == (77, 24)
    assert conditioning_of(parts["audio"], "audio") == (1, 24)
    assert conditioning_of(parts["video"], "video") == (77, 24)

    def broken(name, file, kind="image", **changes):
        folder = edited(shutil.copytree(parts[kind], tmp_path / name), file, **changes)
        with pytest.raises(CheckpointError) as caught:
            conditioning_of(folder, kind)
        return str(caught.value)

    twice = broken("xl", "model_index.json", text_encoder_2=["transformers", "CLIPTextModelWithProjection"])
    assert "text_encoder_2" in twice and "Stable Diffusion 1.5" in twice
    assert "width 25" in broken("width", "unet/config.json", cross_attention_dim=25)
    assert "9 channels" in broken("inpaint", "unet/config.json", in_channels=9)
    assert "class labels" in broken("labels", "unet/config.json", class_embed_type="timestep")
    assert "UNet3DConditionModel" in broken("unet", "model_index.json", unet=["diffusers", "UNet3DConditionModel"])
    assert "has no text_encoder" in broken("none", "model_index.json", text_encoder=[None, None])
    assert "no text embedding" in broken("music", "unet/config.json", "audio", class_embed_type=None)


def test_a_hub_repository_is_referred_to_at_its_revision(llms, tmp_path, monkeypatch):
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    for name, value in (("HF_HOME", tmp_path / "home"), ("HF_HUB_CACHE", tmp_path / "home" / "hub")):
        monkeypatch.setattr(constants, name, str(value))
    monkeypatch.setattr(fetching, "offline", lambda: True)
    cached = tmp_path / "home" / "hub" / "models--someone--pictures"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    shutil.copytree(own_parts()["image"], cached / "snapshots" / commit)
    monkeypatch.chdir(tmp_path)
    assert main(command(llms["llama"], "own", "--image", "someone/pictures", kinds=())) == 0
    component = Manifest.load("own").component("image_decoder")
    assert (component.repo, component.revision) == ("someone/pictures", commit)
    assert len(component.sha256["unet/diffusion_pytorch_model.safetensors"]) == 64
    assert not (tmp_path / "own" / "image_decoder").exists()
    assert set(load_model("own", "cpu", local_files_only=True)[0].decoders) == {"image"}


# --- training --------------------------------------------------------------------------------------------------


def test_training_says_what_a_base_can_and_cannot_be_trained_by(untrained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "all of its parts" in refused(capsys, "train", "vae", "--checkpoint", str(untrained))
    assert "no-such" in refused(capsys, "train", "stage1", "--checkpoint", "no-such")
    with pytest.raises(NextGPTError, match="replace the base"):
        stages.run("stage1", {"base": str(untrained), "out": str(untrained)})
    assert "train stage1" in refused(capsys, "train", "stage2", "--checkpoint", str(untrained))


def test_a_base_is_trained_on_the_media_it_makes_alone(untrained):
    import random

    from nextgpt_chat.training import joining

    draw, rng = joining.stage_dialogue(3, ("image",)), random.Random(2)
    drawn = [draw(rng) for _ in range(60)]
    replies = [slot.kind for d in drawn for turn in d.turns if turn.role == "assistant" for slot in turn.slots]
    assert set(replies) == {"image"}
    shown = {slot.kind for d in drawn for turn in d.turns if turn.role == "user" for slot in turn.slots}
    assert "audio" in shown or "video" in shown
