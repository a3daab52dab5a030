"""Parts that wait in main memory: on the device for their turn, at home after it, and with the same results."""

import contextlib
from dataclasses import replace

import pytest
import torch
from decoders.conftest import KINDS, make_decoder, small
from tiny import tiny_image
from tiny_checkpoint import MANIFEST, build_model, tiny_checkpoint, tiny_pipeline

from nextgpt_chat.checkpoints import load_model
from nextgpt_chat.checkpoints.offloading import OffloadedDecoder, OffloadedEncoder, Visit, out_of_memory_in_words
from nextgpt_chat.checkpoints.planning import PLANS
from nextgpt_chat.conversation import Conversation
from nextgpt_chat.decoders import Cancelled
from nextgpt_chat.errors import CheckpointError
from nextgpt_chat.pipeline import NextGPTPipeline

DEVICE = torch.device("cpu")  # stands for the GPU: what matters is that other storages are used there


class Moves:
    """Copies like a move to a device, and remembers what was moved."""

    def __init__(self, fail_after=None):
        self.copies, self.fail_after = [], fail_after

    def __call__(self, tensor, device):
        assert device == DEVICE
        if self.fail_after is not None and len(self.copies) >= self.fail_after:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.copies.append(tensor.clone())
        return self.copies[-1]


def places(module):
    return [one.data_ptr() for one in (*module.parameters(), *module.buffers())]


@pytest.fixture
def linear():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).eval()


def test_weights_are_elsewhere_during_a_visit_and_home_after_it(linear):
    moves, home = Moves(), places(linear)
    visit = Visit([linear], DEVICE, moves)
    with visit:
        assert not set(home) & set(places(linear))
        with visit:  # nested: nothing moves again
            pass
        assert not set(home) & set(places(linear))
    assert places(linear) == home and len(moves.copies) == len(home)


def test_shared_weights_move_once(linear):
    moves = Moves()
    with Visit([linear, linear[0]], DEVICE, moves):
        pass
    assert len(moves.copies) == len(places(linear))


@pytest.mark.parametrize("fail_after", [0, 2, None])
def test_an_error_sends_the_weights_home(linear, fail_after):
    home, visit = places(linear), Visit([linear], DEVICE, Moves(fail_after))
    with pytest.raises(RuntimeError), visit:
        raise RuntimeError("in the middle")
    assert places(linear) == home
    with pytest.raises(RuntimeError), visit:  # and the lock is free again
        raise RuntimeError("again")


@pytest.mark.parametrize("kind", KINDS)
def test_an_offloaded_decoder_makes_the_same(kind):
    plain, moves = make_decoder(kind), Moves()
    decoder = OffloadedDecoder(make_decoder(kind), DEVICE, moves)
    home = [place for one in decoder.modules() for place in places(one)]
    options = {"steps": 2, "guidance_scale": 2.0, "seed": 3, **small(kind)}
    seen = []

    def look(step, steps, latents):
        seen.append((places(decoder.part.unet)[0], decoder.preview(latents) is None))

    conditioning = plain.encode_text(["a red ball"])
    assert torch.equal(decoder.encode_text(["a red ball"]), conditioning)
    made = decoder.decode(conditioning, on_step=look, **options)
    assert made == plain.decode(conditioning, **options)
    assert len(seen) == 2 and all(place not in home for place, _ in seen)
    assert [place for one in decoder.modules() for place in places(one)] == home
    assert decoder.kind == kind and decoder.conditioning_shape == plain.conditioning_shape


def test_the_text_encoder_visits_once_for_the_empty_prompt_and_not_with_the_rest():
    decoder, moves = make_decoder("image"), Moves()
    text = len(places(decoder.text_encoder))
    rest = sum(len(places(one)) for one in decoder.modules()) - text
    offloaded = OffloadedDecoder(decoder, DEVICE, moves)
    conditioning = torch.zeros(1, *decoder.conditioning_shape)
    options = {"steps": 1, "guidance_scale": 2.0, "seed": 0, **small("image")}
    offloaded.decode(conditioning, **options)
    assert len(moves.copies) == text + rest
    offloaded.decode(conditioning, **options)
    assert len(moves.copies) == text + 2 * rest


def test_a_cancelled_decoder_goes_home():
    decoder = OffloadedDecoder(make_decoder("image"), DEVICE, Moves())
    home = places(decoder.part.unet)
    conditioning = torch.zeros(1, *decoder.conditioning_shape)
    with pytest.raises(Cancelled):
        decoder.decode(conditioning, steps=3, guidance_scale=1.0, seed=0, should_stop=lambda: True, **small("image"))
    assert places(decoder.part.unet) == home


def offloaded_pipeline():
    model, moves = build_model(), Moves()
    model.requires_grad_(False)
    imagebind, _ = model.imagebind, delattr(model, "imagebind")
    model.imagebind = OffloadedEncoder(imagebind, DEVICE, moves)
    model.decoders = {kind: OffloadedDecoder(one, DEVICE, moves) for kind, one in model.decoders.items()}
    return NextGPTPipeline(model, MANIFEST), moves


def test_a_talk_with_offloaded_parts_is_the_same_talk():
    pipeline, moves = offloaded_pipeline()
    plain = NextGPTPipeline(build_model(), MANIFEST)
    replies = []
    for one in (plain, pipeline):
        conversation = Conversation()
        conversation.add_user("what is this?", files=[tiny_image(30).to_pil()])
        replies.append(one.reply(conversation, seed=5, modalities={"text", "image", "audio", "video"}))
    assert replies[0].text == replies[1].text
    media = [[part.media for part in reply.parts if hasattr(part, "media")] for reply in replies]
    assert len(media[0]) == 3 and media[0] == media[1] and moves.copies


def test_a_plan_with_offload_loads_waiting_parts():
    model, _ = load_model(tiny_checkpoint(), "cpu", plan=PLANS["fp32-offload"])
    assert isinstance(model.imagebind, OffloadedEncoder)
    assert {type(one) for one in model.decoders.values()} == {OffloadedDecoder}
    plain = tiny_pipeline().model
    picture = tiny_image(137)  # no other test has the shared model remember it
    assert torch.equal(model.encode_media([picture]), plain.encode_media([picture]))


def test_a_language_model_on_the_cpu_steers_decoders_elsewhere():
    model, _ = load_model(tiny_checkpoint(), "cpu", plan=replace(PLANS["bf16-lm-cpu"], precision="fp32"))
    decoder, given = model.decoders["image"], []
    decoder.device = torch.device("meta")  # stands for a GPU: whatever is decoded must have been brought there
    decoder.part.decode = lambda conditioning, **rest: given.append(conditioning.device)
    decoder._rest = decoder._text = contextlib.nullcontext()
    decoder.decode(torch.zeros(1, *decoder.conditioning_shape))
    assert given == [torch.device("meta")]
    assert model.language_model.device.type == "cpu" and isinstance(model.imagebind, OffloadedEncoder)


def test_too_little_memory_is_said_in_words():
    with pytest.raises(CheckpointError, match=r"memory plan bf16 .*CUDA out of memory"), out_of_memory_in_words("bf16"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
