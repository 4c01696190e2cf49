"""Every family, tiny and random: scores equal a plain forward pass; its processor allows what is listed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from perser.errors import UserError
from speechlm_icl.audio_llm.families import FAMILIES, check_pairs, family_of_config
from speechlm_icl.audio_llm.model import AudioLLM

from .conftest import EMOTIONS, clip, plain_scores
from .tiny_families import FAMILIES as TINY

SEVERAL = [family for family in TINY if FAMILIES[family].several_clips]
KEEPING = [family for family in TINY if FAMILIES[family].keeps_prefix]
CLIPS = [clip(0, 1.0), clip(1, 2.3), clip(2, 0.7)]
ANSWERS = [(0,), (1, 2), (2,)]
QUERIES = [clip(3, 1.3), clip(4, 0.6), clip(5, 3.1), clip(6, 1.3)]
TOLERANCE = 1e-4
DOCUMENT = Path(__file__).parents[3] / "docs/audio_llms.md"


def scores_of(llm: AudioLLM, clips: list, answers: list, **changes) -> torch.Tensor:
    options = {"batch": llm.batch, "keeps_prefix": llm.keeps_prefix} | changes
    changed = AudioLLM(llm.model, llm.chat, llm.family, llm.emotions, llm.wording, **options)
    return changed.score(changed.read(clips, answers), QUERIES)


@pytest.mark.parametrize("family", SEVERAL)
def test_scores_are_those_of_a_plain_forward_pass_cached_or_not_and_batched_or_not(family, tiny_llm):
    llm = tiny_llm(family)
    expected = torch.stack([plain_scores(llm, CLIPS, ANSWERS, query) for query in QUERIES])
    assert (expected.amax(dim=0) - expected.amin(dim=0)).max() > 100 * TOLERANCE  # the clips matter
    ways = [{}, {"keeps_prefix": False}]
    ways += [{"batch": 1}, {"batch": 2}] if FAMILIES[family].keeps_prefix else []
    for way in ways:
        assert (scores_of(llm, CLIPS, ANSWERS, **way) - expected).abs().max() < TOLERANCE, way


@pytest.mark.parametrize("family", TINY)
def test_scores_without_an_enrollment_are_those_of_a_plain_forward_pass(family, tiny_llm):
    llm = tiny_llm(family)
    expected = torch.stack([plain_scores(llm, [], [], query) for query in QUERIES])
    assert (scores_of(llm, [], []) - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("family", [family for family in SEVERAL if family not in KEEPING])
def test_a_family_that_keeps_no_prefix_could_not(family, tiny_llm):
    """Its clips change with the padding that other clips give them. A family that stops doing so fails here,
    and can be listed as one that keeps the prefix."""
    llm = tiny_llm(family)
    expected = torch.stack([plain_scores(llm, CLIPS, ANSWERS, query) for query in QUERIES])
    kept = scores_of(llm, CLIPS, ANSWERS, keeps_prefix=True, batch=1)
    assert (kept - expected).abs().max() > TOLERANCE


def test_gemma4_cannot_mix_lengths_because_of_its_sliding_window(tiny_llm):
    llm = tiny_llm("gemma4")
    expected = scores_of(llm, CLIPS, ANSWERS, batch=1)
    mixing = replace(llm.family, mixes_lengths=True)
    mixed = AudioLLM(llm.model, llm.chat, mixing, llm.emotions)
    assert (mixed.score(mixed.read(CLIPS, ANSWERS), QUERIES) - expected).abs().max() > TOLERANCE


@pytest.mark.parametrize("family", TINY)
def test_a_clip_takes_the_listed_places_and_is_cut_where_it_is_listed(family, tiny_llm):
    llm, listed = tiny_llm(family), FAMILIES[family]
    tone = clip(0, 40.0)
    same = tone.copy()
    same[31 * 16_000 :] = 0
    long, changed, second = (llm.chat.clip_inputs([samples]) for samples in (tone, same, tone[:160_000]))
    a_second = re.fullmatch(r"(\d+) a second", listed.tokens)
    if a_second:
        assert second.counts[0] / 10 == pytest.approx(int(a_second[1]), abs=0.5)
    counts = [llm.chat.clip_inputs([tone[: seconds * 16_000]]).counts[0] for seconds in (1, 29, 31)]
    if not a_second:
        assert (
            counts == {"188": [188] * 3, "375 for each 30 s that it begins": [375, 375, 750]}[listed.tokens]
        )
    is_cut = all(torch.equal(value, changed.features[name]) for name, value in long.features.items())
    assert is_cut == (listed.seconds == 30.0)
    if listed.seconds not in (30.0, None):
        assert llm.chat.processor.max_audio_len == listed.seconds


def test_phi_4_reads_clips_of_nearly_the_same_length(tiny_llm):
    """Its processor cannot. A version that can fails here, and `readable_together` can go."""
    llm = tiny_llm("phi4_multimodal")
    clips = [clip(number, length / 16_000) for number, length in enumerate((6410, 6400, 3000))]
    with pytest.raises(RuntimeError, match="size of tensor"):
        llm.chat.processor.audio_processor(clips, sampling_rate=16_000)
    padded = [np.pad(clips[0], (0, 70)), *clips[1:]]
    scores = llm.score(llm.read(clips[:2], ANSWERS[:2]), clips[2:])
    assert (scores[0] - plain_scores(llm, padded[:2], ANSWERS[:2], clips[2])).abs().max() < TOLERANCE


def test_the_processor_of_audio_flamingo_3_takes_one_clip(tiny_llm):
    llm = tiny_llm("audioflamingo3")
    with pytest.raises(ValueError, match="1 text but 2 audios"):
        llm.tokens.prompt([(0,)])
    with pytest.raises(UserError, match="takes one clip in a prompt"):
        llm.read(CLIPS[:1], ANSWERS[:1])


def test_a_family_of_one_clip_is_refused_by_name_unless_it_reads_no_pairs():
    several = family_of_config({"model_type": "audioflamingo3"}, "flamingo").several_clips
    check_pairs(several, "flamingo", 0)
    for pairs in (None, 1, 8):
        with pytest.raises(UserError, match="measure audio-llm:flamingo-0"):
            check_pairs(several, "flamingo", pairs)


@pytest.mark.parametrize("model_type", ["qwen2_vl", "llama", "wav2vec2", "whisper", None])
def test_a_model_that_is_no_audio_llm_is_refused_by_its_type(model_type):
    with pytest.raises(UserError, match=f"'other' is a model of type '{model_type}', which is no audio LLM"):
        family_of_config({"model_type": model_type}, "other")


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr("perser.errors.find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"torchvision: pip install 'perser\[audio-llm\]'"):
        family_of_config({"model_type": "phi4_multimodal"}, "phi")
    with pytest.raises(UserError, match="mistral_common: pip install mistral_common"):
        family_of_config({"model_type": "voxtral"}, "voxtral")


def test_the_table_in_the_document_lists_the_families_as_they_are():
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\|(.*)\|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))
    del rows["model_type"]  # the heading
    assert rows.keys() == TINY.keys()
    for family, cells in rows.items():
        listed = FAMILIES[family]
        several, cut, tokens, prefix = (cell.strip() for cell in cells.split("|"))
        assert several == ("several" if listed.several_clips else "one")
        assert cut == ("heard in full" if listed.seconds is None else f"cut at {listed.seconds:.0f} s")
        assert tokens == listed.tokens
        mixed = "kept" if listed.mixes_lengths else "kept, for clips of one length at a time"
        assert prefix == (mixed if listed.keeps_prefix else "read again")


def test_labels_of_several_tokens_share_their_beginnings(tiny_llm):
    """Its tokenizer spells most words, so that labels are paths in the trie."""
    llm = tiny_llm("voxtral")
    assert [len(label) for label in llm.tokens.labels] == [5, 5, 3]
    assert llm.emotions == EMOTIONS
