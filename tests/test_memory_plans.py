"""Memory plans: counted without weights, chosen by what fits, refused in words where they cannot be."""

import dataclasses
import importlib.util
import json

import pytest
import torch
from tiny import tiny_network
from tiny_checkpoint import tiny_checkpoint, tiny_pipeline
from torch import nn

from nextgpt_chat.checkpoints import Manifest, load_model, shipped_checkpoints
from nextgpt_chat.checkpoints import planning as plans_of
from nextgpt_chat.checkpoints.activations import peak_bytes
from nextgpt_chat.checkpoints.devices import choose_dtype
from nextgpt_chat.checkpoints.planning import (
    GIB,
    PLANS,
    RESERVE,
    MemoryNeeds,
    PartMemory,
    choose_plan,
    keep_verdict,
    memory_needs,
    resolve_plan,
)
from nextgpt_chat.cli import main
from nextgpt_chat.cli.memory import mark_sentence
from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.language_model import quantization
from nextgpt_chat.language_model.quantization import quantizable_linears, quantize, stored_bytes
from nextgpt_chat.pipeline import NextGPTPipeline

PUBLISHED = shipped_checkpoints()["nextgpt-7b-tiva-v0"]
HAS_TORCHAO = importlib.util.find_spec("torchao") is not None


@pytest.fixture(scope="module")
def published():
    return memory_needs(PUBLISHED)


def parts_of(needs):
    return {one.name: one for one in needs.parts}


# --- counting --------------------------------------------------------------------------------------------------


def test_a_pass_is_counted_without_data():
    # 100 → 400 → 10 values of 2 bytes: input and first result are alive together, then first and second.
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(100, 400), nn.Linear(400, 10)).bfloat16()
    assert peak_bytes(lambda: net(torch.empty(8, 100))) == 8 * (100 + 400 + 10) * 2
    assert peak_bytes(lambda: net(torch.empty(8, 100)).view(-1).view(8, 10)) == 8 * (100 + 400 + 10) * 2


def test_what_is_gone_is_counted_no_more():
    def pieces():
        for _ in range(5):
            torch.empty(1000)

    assert peak_bytes(pieces) == 2000


def test_attention_counts_without_its_matrix():
    def attend():
        q = torch.empty(1, 2, 512, 16)
        return nn.functional.scaled_dot_product_attention(q, q, q)

    assert peak_bytes(attend) == 2 * (2 * 512 * 16) * 2


def test_the_published_model_has_its_known_sizes_without_its_weights(published):
    counts = {one.name: one.parameters for one in published.parts}
    assert counts["language_model"] == 6_738_415_616 + 38 * 2 * 4096  # LLaMA-7B and 38 rows in both tables
    assert counts["adapter"] == 33_554_432
    # UNet, autoencoder, text encoder and safety checker of Stable Diffusion 1.5; AudioLDM-l's card says 975 M.
    assert counts["image_decoder"] == 859_520_964 + 83_653_863 + 123_060_480 + 303_981_588
    assert round(counts["audio_decoder"] / 1e6) == 975
    assert counts["video_decoder"] == 1_411_233_860 + 83_653_863 + 340_387_840
    assert published.cache == 2 * 32 * 4096 * 2048 * 2 and published.context == 2048


def test_embeddings_head_and_lora_stay_in_16_bits(published):
    lm, adapter = parts_of(published)["language_model"], parts_of(published)["adapter"]
    blocks = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert lm.weights["bf16"] == 2 * lm.parameters and adapter.weights["int4"] == 2 * adapter.parameters
    kept = 2 * (lm.parameters - blocks)
    assert kept + blocks < lm.weights["int8"] < kept + 1.01 * blocks
    assert kept + blocks / 2 < lm.weights["int4"] < kept + 0.53 * blocks


def test_the_usual_gpus_get_these_plans(published):
    chosen = {budget: published.best(budget * GIB) for budget in plans_of.BUDGETS}
    names = {budget: plan.name if plan else None for budget, plan in chosen.items()}
    assert names == {
        8: "bf16-lm-cpu",
        12: "int4-offload",
        16: "int8-offload",
        24: "bf16-offload",
        40: "bf16",
        80: "bf16",
    }
    assert "does not fit" in published.advice(4 * GIB) and "GiB" in published.advice(4 * GIB)


def test_the_parameters_counted_are_those_that_are_loaded():
    needs, model = parts_of(memory_needs(tiny_checkpoint())), tiny_pipeline().model
    assert needs["language_model"].parameters == sum(p.numel() for p in model.language_model.network.parameters())
    assert needs["imagebind"].parameters == sum(p.numel() for p in model.imagebind.parameters())
    for kind, decoder in model.decoders.items():
        loaded = sum(p.numel() for one in decoder.modules() for p in one.parameters())
        assert needs[f"{kind}_decoder"].parameters == loaded
    projections = [*model.input_projection.parameters(), *model.output_projection.parameters()]
    assert needs["projections"].parameters == sum(p.numel() for p in projections)


def test_sizes_that_nobody_knows_are_said(tmp_path):
    data = json.loads((PUBLISHED / "nextgpt.json").read_text())
    del data["extra"]["sizes"]["decoders"]["audio"]
    (tmp_path / "nextgpt.json").write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"audio decoder .*sizes\.decoders\.audio"):
        memory_needs(tmp_path)
    Manifest("x").save(tmp_path)
    with pytest.raises(CheckpointError, match=r"extra\.sizes"):
        memory_needs(tmp_path)


# --- choosing --------------------------------------------------------------------------------------------------


def needs_of(lm, *decoders, work=0):
    """Parts of so many GiB in 16 bits."""

    def part(name, size, idle):
        weights = {"fp32": 2 * size * GIB, "bf16": size * GIB, "int8": size * GIB, "int4": size * GIB}
        if not idle:
            weights |= {"int8": size * GIB // 2, "int4": size * GIB // 4}
        return PartMemory(name, size * GIB // 2, weights, work * GIB, size * GIB // 2 if idle else None)

    named = [part(f"decoder {i}", size, True) for i, size in enumerate(decoders)]
    return MemoryNeeds((part("language_model", lm, False), *named), GIB, 1000)


def test_the_peak_is_what_stays_and_the_costliest_turn():
    needs = needs_of(12, 3, 4, work=2)
    assert needs.peak(PLANS["bf16"]) == (12 + 3 + 4 + 1 + 2) * GIB + RESERVE
    assert needs.peak(PLANS["bf16-offload"]) == (12 + 1 + 4 + 2) * GIB + RESERVE
    assert needs.peak(PLANS["int4-offload"]) == (3 + 1 + 4 + 2) * GIB + RESERVE
    assert needs.peak(PLANS["fp32"]) == 2 * (12 + 3 + 4 + 1 + 2) * GIB + RESERVE
    assert needs.peak(PLANS["bf16-lm-cpu"]) == (4 + 2) * GIB + RESERVE
    assert needs.waiting(PLANS["bf16-offload"]) == 7 * GIB and needs.waiting(PLANS["bf16"]) == 0
    assert needs.waiting(PLANS["bf16-lm-cpu"]) == 19 * GIB


@pytest.mark.parametrize(
    ("gib", "name"),
    [
        (30, "bf16"),
        (20, "bf16-offload"),
        (16, "int8"),
        (13, "int8-offload"),
        (9, "int4-offload"),
        (8, "bf16-lm-cpu"),
        (4, None),
    ],
)
def test_the_best_plan_that_fits_is_chosen(gib, name):
    plan = needs_of(12, 3, 4).best(gib * GIB)
    assert (plan.name if plan else None) == name


def test_what_a_plan_leaves_may_be_used_for_earlier_talks():
    needs = needs_of(12, 3)
    free = needs.peak(PLANS["bf16"])
    assert needs.kept_positions(PLANS["bf16"], free) == 0 == needs.kept_positions(PLANS["bf16"], free - GIB)
    assert needs.kept_positions(PLANS["bf16"], free + 4 * GIB) == 2000  # half of it, at 1000 positions a GiB


def test_on_a_cpu_everything_is_in_main_memory():
    placement = resolve_plan("auto", tiny_checkpoint(), "cpu")
    assert (placement.plan.name, placement.dtype, placement.kept_positions) == ("fp32", torch.float32, None)
    assert resolve_plan("auto", tiny_checkpoint(), "cpu", "bfloat16").plan.name == "bf16"
    assert resolve_plan("bf16", tiny_checkpoint(), "cpu").dtype == torch.bfloat16
    assert tiny_pipeline().memory_plan == PLANS["fp32"]


@pytest.mark.parametrize(
    ("name", "dtype", "named"),
    [
        ("fp16", "auto", "no memory plan 'fp16'.*bf16-offload"),
        ("bf16-offload", "auto", "cpu.*Choose bf16"),
        ("int8-offload", "auto", "Choose int8"),
        ("int4", "auto", "CUDA"),
        ("bf16", "float32", "contradicts"),
        ("fp32", "bfloat16", "contradicts"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_words(name, dtype, named):
    with pytest.raises(CheckpointError, match=named):
        NextGPTPipeline.from_pretrained(tiny_checkpoint(), device="cpu", dtype=dtype, memory_plan=name)


def test_a_missing_package_is_named_with_the_command_to_run(monkeypatch):
    monkeypatch.setattr(quantization, "is_installed", lambda bits: False)
    with pytest.raises(CheckpointError, match=r"torchao.*pip install -r requirements-quantization\.txt"):
        NextGPTPipeline.from_pretrained(tiny_checkpoint(), device="cpu", memory_plan="int8")
    with pytest.raises(CheckpointError, match="torchao"):
        quantize(tiny_network(100), 8, "cpu")


def test_a_gpu_gets_the_best_plan_whose_package_is_there(monkeypatch):
    needs = needs_of(12, 3, 4)
    monkeypatch.setattr(plans_of, "memory_needs", lambda folder: needs)
    monkeypatch.setattr(plans_of, "is_installed", lambda bits: True)
    assert choose_plan("x", 40 * GIB)[0].name == "bf16"
    assert choose_plan("x", 13 * GIB)[0].name == "int8-offload"
    monkeypatch.setattr(plans_of, "is_installed", lambda bits: bits == 4)
    assert choose_plan("x", 13 * GIB)[0].name == "int4"
    monkeypatch.setattr(plans_of, "is_installed", lambda bits: False)
    with pytest.raises(CheckpointError, match=r"13\.0 GiB .* int8-offload, needs torchao.*pip install"):
        choose_plan("x", 13 * GIB)
    assert choose_plan("x", 6 * GIB)[0].name == "bf16-lm-cpu"
    with pytest.raises(CheckpointError, match=r"2\.0 GiB .*does not fit.*--device cpu"):
        choose_plan("x", 2 * GIB)


def test_auto_keeps_to_what_the_quantization_gate_has_found(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(plans_of, "memory_needs", lambda folder: needs_of(12, 3, 4))
    monkeypatch.setattr(plans_of, "is_installed", lambda bits: True)
    monkeypatch.setattr(plans_of, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (13 * GIB, 24 * GIB))
    assert resolve_plan("auto", tmp_path, "cuda").plan.name == "int8-offload"
    assert "--quantization-gate" in caplog.text
    caplog.clear()
    keep_verdict(tmp_path, "int8", True, "fine")
    assert resolve_plan("auto", tmp_path, "cuda").plan.name == "int8-offload" and not caplog.text
    keep_verdict(tmp_path, "int8", False, "too far")
    assert resolve_plan("auto", tmp_path, "cuda").plan.name == "int4"
    keep_verdict(tmp_path, "int4", False, "too far")
    assert resolve_plan("auto", tmp_path, "cuda").plan.name == "bf16-lm-cpu"
    (tmp_path / "quantization.json").write_text("[1")
    assert resolve_plan("auto", tmp_path, "cuda").plan.name == "int8-offload"


def test_auto_on_a_gpu_asks_it_what_is_free(monkeypatch):
    asked = []
    monkeypatch.setattr(plans_of, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: asked.append(device) or (24 * GIB, 24 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(plans_of, "memory_needs", lambda folder: needs_of(12, 5, 6))
    placement = resolve_plan("auto", tiny_checkpoint(), "cuda:1")
    assert asked == [torch.device("cuda:1")] and placement.dtype == torch.bfloat16
    assert placement.plan.name == "bf16-offload" and placement.kept_positions > 0
    monkeypatch.setattr(plans_of, "memory_needs", lambda folder: 1 / 0)  # what cannot be counted may fit all the same
    assert resolve_plan("auto", tiny_checkpoint(), "cuda:1").plan.name == "bf16"


def test_a_plan_that_is_named_remembers_only_the_talks_that_fit_beside_it(monkeypatch):
    free = [8 * GIB]
    monkeypatch.setattr(plans_of, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[0], 24 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(plans_of, "memory_needs", lambda folder: needs_of(12, 5, 6))
    assert resolve_plan("bf16-offload", tiny_checkpoint(), "cuda").kept_positions == 0
    free[0] = 24 * GIB
    auto, named = (resolve_plan(name, tiny_checkpoint(), "cuda") for name in ("auto", "bf16-offload"))
    assert named.kept_positions == auto.kept_positions > 0
    monkeypatch.setattr(plans_of, "memory_needs", lambda folder: 1 / 0)
    assert resolve_plan("bf16-offload", tiny_checkpoint(), "cuda").kept_positions is None
    assert resolve_plan("fp32", tiny_checkpoint(), "cpu").kept_positions is None


# --- fewer bits ------------------------------------------------------------------------------------------------


def with_lora(network):
    from peft import LoraConfig, get_peft_model

    return get_peft_model(network, LoraConfig(r=2, target_modules=["q_proj", "o_proj"], init_lora_weights=False)).eval()


def test_only_the_blocks_are_quantized():
    plain = quantizable_linears(tiny_network(100))
    assert len(plain) == 2 * 7 and all(".layers." in name for name in plain)
    names = quantizable_linears(with_lora(tiny_network(100)))
    assert len(names) == 2 * 7
    assert not [name for name in names if "lora" in name or "lm_head" in name or "embed" in name]


def test_bytes_in_fewer_bits():
    linear = nn.Linear(4096, 512, device="meta")
    assert stored_bytes(linear, 8) == 4096 * 512 + 4 * 512
    assert 0.5 * 4096 * 512 < stored_bytes(linear, 4) < 0.52 * 4096 * 512


def test_other_numbers_of_bits_are_a_mistake():
    with pytest.raises(ValueError, match="3"):
        quantize(tiny_network(100), 3, "cpu")


@pytest.mark.skipif(not HAS_TORCHAO, reason="needs torchao: pip install -r requirements-quantization.txt")
def test_a_pipeline_in_8_bits_answers_on_the_cpu(tmp_path):
    from nextgpt_chat.conversation import Conversation
    from nextgpt_chat.pipeline.quantization_gate import check_quantization

    pipeline = NextGPTPipeline.from_pretrained(tiny_checkpoint(), device="cpu", memory_plan="int8")
    layers = [m for m in pipeline.model.language_model.network.modules() if isinstance(m, nn.Linear)]
    stored = [type(one.weight.data).__name__ for one in layers]
    assert stored.count("Int8Tensor") == 2 * 7 and len(stored) == 2 * 7 + 1  # the head is as it was
    conversation = Conversation()
    conversation.add_user("draw a red car")
    assert len(pipeline.reply(conversation, seed=1, modalities={"text", "image"}).images) == 1
    assert "cosine" in check_quantization(tiny_checkpoint(), pipeline)
    with pytest.raises(CheckpointError, match="not saved"):
        pipeline.save_pretrained(tmp_path / "out")


def test_a_quantized_model_is_not_saved(tmp_path):
    model, manifest = load_model(tiny_checkpoint(), "cpu")
    pipeline = NextGPTPipeline(model, manifest)
    pipeline.memory_plan = PLANS["int8"]
    with pytest.raises(CheckpointError, match="rounded to 8 bits"):
        pipeline.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- the command line ------------------------------------------------------------------------------------------


def doctor(capsys, *arguments):
    status = main(["doctor", "--device", "cpu", "--json", *arguments])
    report = json.loads(capsys.readouterr().out)
    return status, report, {check["name"]: check for check in report["checks"]}


def test_doctor_plans_a_checkpoint_whose_weights_are_not_there(capsys, monkeypatch, published):
    monkeypatch.setattr(plans_of, "memory_needs", lambda folder: published)
    status, report, checks = doctor(capsys, "--checkpoint", "nextgpt-7b-tiva-v0")
    assert status == 2 and not checks["files"]["ok"] and "download" in checks["files"]["message"]
    assert checks["GPU plans"]["ok"] and "24 GB: bf16-offload" in checks["GPU plans"]["message"]
    assert [one["plan"] for one in report["memory"]["plans"]] == [
        "bf16-lm-cpu",
        "int4-offload",
        "int8-offload",
        "bf16-offload",
        "bf16",
        "bf16",
    ]
    assert report["memory"]["parts"][0]["bytes"].keys() == {"fp32", "bf16", "int8", "int4"}
    assert main(["doctor", "--checkpoint", "nextgpt-7b-tiva-v0", "--vram", "16"]) == 2
    out = capsys.readouterr().out
    assert "16 GB: int8-offload" in out and "8 GB: does not fit" not in out and "6738.7 M" in out


def test_doctor_takes_one_size_and_names_the_plan_it_loaded(capsys):
    status, report, checks = doctor(capsys, "--checkpoint", str(tiny_checkpoint()), "--vram", "6")
    assert status == 0 and [one["gb"] for one in report["memory"]["plans"]] == [6]
    assert report["memory"]["plans"][0]["plan"] == "bf16" and "memory plan fp32" in checks["load"]["message"]
    assert {"ok", "checks", "components"} <= report.keys()
    assert main(["doctor", "--vram", "0"]) == 2 and "--vram is 0" in capsys.readouterr().err


def test_doctor_counts_the_plan_that_it_is_told(capsys, monkeypatch):
    checkpoint = ("--checkpoint", str(tiny_checkpoint()))
    _, report, _ = doctor(capsys, *checkpoint)
    needed = sum(one["memory_bytes"] for one in report["components"])
    monkeypatch.setattr("nextgpt_chat.cli.doctor._memory", lambda: "enough for the rest")
    monkeypatch.setattr("nextgpt_chat.cli.doctor.available_memory", lambda: int(0.75 * needed))
    status, _, checks = doctor(capsys, *checkpoint)
    assert status == 2 and "--memory-plan bf16" in checks["memory plan"]["message"] and "load" not in checks
    status, report, checks = doctor(capsys, *checkpoint, "--memory-plan", "bf16")
    assert status == 0 and "memory plan bf16" in checks["load"]["message"]
    assert sum(one["memory_bytes"] for one in report["components"]) == needed // 2


@pytest.mark.parametrize("capability, dtype", [((7, 5), torch.float16), ((8, 0), torch.bfloat16)])
def test_a_gpu_that_would_emulate_bfloat16_computes_in_float16(monkeypatch, capability, dtype):
    asked = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked.append(device) or capability)
    assert choose_dtype("auto", torch.device("cuda:1")) == dtype
    assert asked == [torch.device("cuda:1")]


def test_doctor_says_what_the_media_marks_are(capsys, tmp_path):
    assert mark_sentence({}) is None and mark_sentence({"img_tokens": "?"}) is None
    assert mark_sentence({"img_tokens": {"mode": "real"}}) == "<Img> and </Img> are tokens of their own"
    manifest = Manifest.load(PUBLISHED)
    facts = {"img_tokens": {"mode": "text", "decided_by": "added_tokens.json"}}
    dataclasses.replace(manifest, extra=facts).save(tmp_path)
    _, _, checks = doctor(capsys, "--checkpoint", str(tmp_path))
    message = checks["media marks"]["message"]
    assert "ordinary text pieces" in message and "added_tokens.json" in message


def test_the_plan_is_a_flag_of_chat_and_page(capsys, tmp_path, monkeypatch):
    from nextgpt_chat.web import parse_options

    monkeypatch.chdir(tmp_path)
    given = ["chat", "--checkpoint", str(tiny_checkpoint()), "--device", "cpu", "--text", "x"]
    assert main([*given, "--memory-plan", "int4-offload"]) == 2
    assert "int4-offload" in capsys.readouterr().err
    assert parse_options([], {}).memory_plan == "auto"
    assert parse_options([], {"NEXTGPT_MEMORY_PLAN": "int8"}).memory_plan == "int8"
    assert parse_options(["--memory-plan", "bf16"], {"NEXTGPT_MEMORY_PLAN": "int8"}).memory_plan == "bf16"
