"""What the stages are trained on: no held-out value, hard neighbours, the chat's own preprocessing."""

import random
import re

import numpy as np
import pytest
import torch

from nextgpt_chat.decoders import mel
from nextgpt_chat.imagebind import ImageBind, ImageBindConfig
from nextgpt_chat.imagebind.preprocess import preprocess
from nextgpt_chat.picturebook import COLOURS, MOTIONS, PITCHES, SOUNDS, THINGS, captions, draw, is_held_out, play
from nextgpt_chat.picturebook.dialogues import MediaSlot, dialogue
from nextgpt_chat.picturebook.drawing import SHADES
from nextgpt_chat.picturebook.reading import parse
from nextgpt_chat.picturebook.sounds import PITCH_FACTORS
from nextgpt_chat.picturebook.values import HELD_OUT_LOOKS, HELD_OUT_PITCHES, Scene, Sound
from nextgpt_chat.training import alignment, worlddata
from nextgpt_chat.training.between import (
    ASKED_WORDS,
    HIGHEST,
    HIGHEST_OF,
    LOWEST,
    NEAR_PITCH,
    TenthsSound,
    any_pitch,
    any_shade,
    asked_otherwise,
    given_between,
    play_tenths,
    render_between,
    rendered_between,
    tenths_caption,
    tenths_sounds,
    told_between,
    unnamed_caption,
)
from nextgpt_chat.training.caption_tokens import CONTEXT, caption_corpus, train_clip_tokenizer, train_roberta_tokenizer
from nextgpt_chat.training.codes import AttributeCodes
from nextgpt_chat.training.contrastive import batch_views, embed_values, patch_labels, render
from nextgpt_chat.training.stand_ins import BetweenSlot

POOLS = (worlddata.scenes, worlddata.clips, worlddata.sounds)


@pytest.mark.parametrize("pool", POOLS)
def test_the_two_sides_of_the_split_share_nothing(pool):
    assert not any(is_held_out(value) for value in pool())
    assert all(is_held_out(value) for value in pool(held_out=True))


def test_every_word_stays_in_training():
    assert {scene.thing for scene in worlddata.scenes()} == set(THINGS)
    assert {scene.colour for scene in worlddata.scenes()} == set(COLOURS)
    assert {clip.motion for clip in worlddata.clips()} == set(MOTIONS)
    assert {sound.source for sound in worlddata.sounds()} == set(SOUNDS)
    assert {sound.pitch for sound in worlddata.sounds()} == set(PITCHES)


@pytest.mark.parametrize("pool", POOLS)
def test_relatives_differ_in_one_attribute_and_are_not_held_out(pool):
    family = worlddata.families(pool(), np.random.default_rng(3), 8)
    first = worlddata.attributes(family[0])
    for relative in family[1:4]:
        other = worlddata.attributes(relative)
        assert sum(first[name] != other[name] for name in first) == 1
        assert not is_held_out(relative)


@pytest.mark.parametrize("pool", POOLS)
def test_batched_views_average_to_what_the_chat_sees(pool):
    config = ImageBindConfig.mini(64)
    values = worlddata.families(pool(), np.random.default_rng(1), 3)
    media = [render(value, seed) for seed, value in enumerate(values)]
    batched = batch_views(media, config)
    for views, medium in zip(batched, media, strict=True):
        whole = preprocess(medium, config)
        given = views[None] if medium.kind == "image" else views
        assert torch.allclose(given.mean(0), whole.mean(0), atol=1e-5)
        assert len(given) == (config.video_clips if medium.kind == "video" else 1)


def test_embeddings_of_many_values_equal_the_chats_own():
    torch.manual_seed(0)
    config = ImageBindConfig.mini(64)
    imagebind = ImageBind(config).eval()
    rng = np.random.default_rng(2)
    values = [worlddata.pick(pool(), rng) for pool in POOLS]
    one_by_one = imagebind.encode_media([render(value, 7) for value in values])
    assert torch.allclose(embed_values(imagebind, values, [7, 7, 7]), one_by_one, atol=1e-5)


@pytest.mark.parametrize("train", [train_clip_tokenizer, train_roberta_tokenizer])
def test_caption_tokenizers_survive_saving_and_hold_every_caption(train, tmp_path):
    tokenizer = train(caption_corpus(600))
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    for caption in caption_corpus(50, seed=1):
        ids = tokenizer(caption).input_ids
        assert again(caption).input_ids == ids
        assert len(ids) <= CONTEXT
        assert tokenizer.decode(ids, skip_special_tokens=True).strip() == caption


def test_the_clip_tokenizers_end_token_is_its_largest_id():
    tokenizer = train_clip_tokenizer(caption_corpus(600))
    assert tokenizer.eos_token_id == len(tokenizer) - 1
    assert tokenizer("a red car").input_ids[-1] == tokenizer.eos_token_id


def test_mel_spectrograms_have_a_frame_every_ten_milliseconds_and_show_the_pitch():
    low, high = (torch.from_numpy(play(Sound("bird", pitch, "normal"), 1))[None] for pitch in ("low", "high"))
    spectrum = mel.log_mel(low)
    assert spectrum.shape == (1, 200, mel.BINS)
    assert float(spectrum.min()) > -2 and float(spectrum.max()) < 2
    energies = [(mel.log_mel(wave) * mel.SPREAD).exp().mean((0, 1)) for wave in (low, high)]
    centres = [float((energy * torch.arange(mel.BINS)).sum() / energy.sum()) for energy in energies]
    assert centres[1] > centres[0] + 10


def test_patch_labels_say_where_the_thing_is():
    for seed, position in enumerate(("left", "middle", "right")):
        scene = Scene("heart", "red", "big", position, "sky")
        labels = patch_labels([scene], [seed], 8).reshape(8, 8)
        pixels = np.asarray(draw(scene, seed), np.float32).reshape(8, 16, 8, 16, 3).mean((1, 3))
        is_red = pixels[..., 0] > pixels[..., 1] + 60
        inside = (labels == THINGS.index("heart")).numpy()
        assert set(labels.flatten().tolist()) == {THINGS.index("heart"), len(THINGS)}
        assert is_red[inside].mean() > 0.5 and is_red[~inside].mean() < 0.1  # a heart is smaller than its circle


def test_nothing_between_the_words_comes_near_to_a_held_out_pair():
    rng = np.random.default_rng(3)
    for thing, colour in HELD_OUT_LOOKS:
        assert all(np.linalg.norm(np.subtract(any_shade(thing, rng), SHADES[colour])) > 70 for _ in range(40))
    for source, pitch in HELD_OUT_PITCHES:
        assert all(abs(np.log2(any_pitch(source, rng) / PITCH_FACTORS[pitch])) > 0.2 for _ in range(40))


@pytest.mark.parametrize("pool", [worlddata.scenes, worlddata.clips, worlddata.sounds])
def test_captions_of_renderings_between_the_words_name_neither_colour_nor_pitch(pool):
    for value in pool()[:: 1 + len(pool()) // 400]:
        said, told = unnamed_caption(value), worlddata.attributes(value)
        left_out = told["pitch"] + " pitch" if "pitch" in told else told["colour"]
        assert left_out not in said and "  " not in said
        assert told.get("thing", told.get("source")) in said
        # nothing else is missing
        words = said.split()
        assert len(words) == len(captions(value)[0].split()) - (3 if "pitch" in told else 1)


def test_every_source_sounds_at_every_pitch_between_the_words():
    for source in SOUNDS:
        for factor in (LOWEST, HIGHEST_OF.get(source, HIGHEST)):
            assert np.isfinite(play(Sound(source, "normal", "normal"), 3, factor)).all(), (source, factor)


def test_colours_and_pitches_between_the_words_are_seen_and_heard_and_change_nothing_else():
    rng = np.random.default_rng(1)
    scene, sound = Scene("ball", "red", "big", "middle", "plain"), Sound("bell", "normal", "normal")
    other, octaves = render_between(scene, 5, rng)
    plain = render(scene, 5)
    assert octaves == 0 and not np.array_equal(other.pixels, plain.pixels)
    assert np.array_equal(other.pixels[:8], plain.pixels[:8])  # the place is the same
    heard = [render_between(sound, 5, rng) for _ in range(2)]
    assert heard[0][1] != heard[1][1] and all(np.log2(LOWEST) <= above <= np.log2(HIGHEST) for _, above in heard)
    assert np.array_equal(play(sound, 5, pitch=1.3), play(sound, 5, pitch=1.3))
    assert not np.array_equal(play(sound, 5, pitch=1.3), play(sound, 5))


@pytest.mark.parametrize("kind", ["make_image", "make_audio", "make_video"])
def test_a_request_in_other_words_gets_its_reply_and_its_caption_in_them(kind):
    changed = 0
    for number in range(100):
        one = dialogue(number, kind=kind)
        asked, reply = asked_otherwise(one, random.Random(number)).turns
        if asked == one.turns[0]:
            assert reply == one.turns[1]
            continue
        changed += 1
        (slot,), (before,) = reply.slots, one.turns[1].slots
        assert slot.value == before.value
        new, old = slot.caption.split(), before.caption.split()
        other = [(told, said) for told, said in zip(new, old, strict=True) if told != said]
        words = {word: name for name, word in worlddata.attributes(before.value).items()}
        assert other and all(told in ASKED_WORDS[words[said]] for told, said in other)
        for turn in (asked, reply):
            assert all(told in re.findall(r"\w+", turn.text) for told, _ in other)
    assert changed > 20


@pytest.mark.parametrize("kind", ["describe_image", "change_image", "make_several", "greet"])
def test_other_dialogues_keep_their_words(kind):
    for number in range(20):
        one = dialogue(number, kind=kind)
        if len(one.turns[-1].slots) != 1 or len(one.turns) != 2:
            assert asked_otherwise(one, random.Random(number)) is one


@pytest.mark.parametrize("kind", ["describe_image", "describe_video", "describe_audio", "describe_without_words"])
def test_what_lies_between_the_words_is_told_with_a_word_that_says_nothing_of_it(kind):
    others, changed = {"colour": ["always"], "pitch": ["always"]}, 0
    for number in range(40):
        one = dialogue(number, kind=kind)
        told = told_between(one, others, random.Random(number))
        if told is one:
            continue
        changed += 1
        asked, reply = told.turns
        (slot,), (before,) = asked.slots, one.turns[0].slots
        assert isinstance(slot, BetweenSlot) and (slot.value, slot.kind) == (before.value, before.kind)
        assert slot.unsaid == "always" and reply.text.count("always") == 1 and asked.text == one.turns[0].text
        named = worlddata.attributes(slot.value)
        del named["pitch" if slot.kind == "audio" else "colour"]
        said = parse(reply.text)
        assert named.items() <= said.items() and not {"pitch", "colour"} & set(said)
    assert changed > (20 if kind == "describe_without_words" else 35)


@pytest.mark.parametrize("kind", ["across_to_image", "across_to_audio", "describe_audio", "change_image"])
def test_what_is_given_lies_between_the_words_wherever_nobody_names_its_pitch_or_colour(kind):
    changed = 0
    for number in range(60):
        one = dialogue(number, kind=kind)
        given = given_between(one, random.Random(number))
        named = {name for turn in one.turns for name in parse(turn.text)}
        for before, after in zip(one.turns, given.turns, strict=True):
            assert (after.role, after.text) == (before.role, before.text)
            for slot, other in zip(before.slots, after.slots, strict=True):
                between, name = isinstance(other, BetweenSlot), "pitch" if slot.kind == "audio" else "colour"
                assert between is (before.role == "user" and name not in named)
                assert other.value == slot.value and not (between and other.unsaid)
                changed += between
    assert changed > 10 or kind in ("describe_audio", "change_image")


def test_slots_between_the_words_are_rendered_so_and_kept_apart():
    torch.manual_seed(0)
    imagebind = ImageBind(ImageBindConfig.mini(400)).eval()
    sound = Sound("bell", "low", "slow")
    plain, between = (shape(sound, 7, "audio", captions(sound)[0]) for shape in (MediaSlot, BetweenSlot))
    embeddings = alignment.Embeddings(imagebind, jitter=0.0)
    found = embeddings.of([plain, between])
    assert set(found) == {embeddings.key(plain), embeddings.key(between)} and len(found) == 2
    for slot, medium in ((plain, render(sound, 7)), (between, rendered_between(sound, 7))):
        wanted = imagebind.encode_media([medium])[0]
        assert torch.allclose(found[embeddings.key(slot)], wanted, atol=2e-3)


def test_some_media_are_shown_fainter_in_their_thing_or_pitch_and_in_nothing_else():
    torch.manual_seed(0)
    imagebind = ImageBind(ImageBindConfig.mini(400)).eval()
    scene, sound = Scene("dog", "red", "big", "left", "grass"), Sound("bell", "low", "slow")
    slots = [MediaSlot(v, 7, kind, captions(v)[0]) for v, kind in ((scene, "image"), (sound, "audio"))]
    between = BetweenSlot(sound, 7, "audio", captions(sound)[0])
    codes = AttributeCodes(imagebind.config.embedding_dim)
    embeddings = alignment.Embeddings(imagebind, jitter=0.0, codes=codes)
    plain = alignment.Embeddings(imagebind, jitter=0.0).of([*slots, between])
    along = codes.directions[codes.rows["thing", "dog"]][None], codes.of(["pitch"])
    kept = []
    for _ in range(60):
        found = embeddings.of([*slots, between])
        assert torch.equal(found[embeddings.key(between)], plain[embeddings.key(between)])
        for slot, rows in zip(slots, along, strict=True):
            before, after = plain[embeddings.key(slot)], found[embeddings.key(slot)]
            assert torch.allclose(after - after @ rows.T @ rows, before - before @ rows.T @ rows, atol=1e-5)
            kept.append(float((after @ rows.T).norm() / (before @ rows.T).norm()))
    assert 0.4 < min(kept) < 0.6 and 30 < sum(share > 0.999 for share in kept) < 70


def test_sounds_on_the_scale_keep_away_from_held_out_pitches_and_say_where_they_are():
    sounds = tenths_sounds()
    assert {sound.source for sound in sounds} == set(SOUNDS)
    for sound in sounds:
        for word, factor in PITCH_FACTORS.items():
            if (sound.source, word) in HELD_OUT_PITCHES:
                assert abs(sound.tenths / 10 - np.log2(factor)) > NEAR_PITCH
    caption = tenths_caption(TenthsSound("phone", "fast", 12))
    assert "+12 pitch" in caption and parse(caption).get("pitch") is None
    assert tenths_caption(Sound("phone", "normal", "fast")) == "a phone rings at +0 pitch and fast speed"


def test_a_sound_on_the_scale_is_as_high_as_the_words_say():
    def octaves(sound):
        spectrum = np.abs(np.fft.rfft(sound)) ** 2
        return np.log2((spectrum * np.arange(len(spectrum))).sum() / spectrum.sum())

    middle = [octaves(play_tenths(TenthsSound("dog", "fast", tenths), 3)) for tenths in (-7, 0, 7)]
    steps = np.diff(middle)
    assert np.all(steps > 0.4) and np.all(steps < 1.0)
