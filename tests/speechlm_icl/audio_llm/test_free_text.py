"""Labels that are read out of what a model writes, and the share of answers that name none."""

from __future__ import annotations

import numpy as np
import pytest

from perser.installed_routes import build_method, check_method
from perser.personalizer import RouteContext
from speechlm_icl.audio_llm.free_text import FreeTextLLM

from .conftest import clip
from .stub_endpoint import answer, stub_endpoint

CLIPS, ANSWERS = [clip(0, 0.5), clip(1, 0.6)], [(0,), (1, 2)]
QUERIES = [clip(2, 0.4), clip(3, 0.7), clip(4, 0.5)]


@pytest.mark.parametrize("family", ["qwen2_audio", "voxtral"])
def test_it_writes_what_transformers_generates_after_the_same_conversation(family, tiny_llm, monkeypatch):
    llm = tiny_llm(family)
    asked = []
    monkeypatch.setattr(
        llm,
        "write",
        lambda messages, clips, most: (
            asked.append((messages, clips)) or type(llm).write(llm, messages, clips, most)
        ),
    )
    text = FreeTextLLM(llm)
    scores = text.score(text.read(CLIPS, ANSWERS), QUERIES[:1])
    ((messages, clips),) = asked
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2 + ["user"]
    assert len(clips) == 3
    encoded = llm.chat.encode([messages], clips)
    skeleton = llm.tokens.prompt(ANSWERS)
    counts = llm.chat.clip_inputs(clips).counts
    prompt = skeleton.before_last_clip(counts[:-1]) + skeleton.from_last_clip(counts[-1])
    assert encoded["input_ids"][0].tolist() == prompt
    np.testing.assert_allclose(scores.exp().sum(), 1, atol=1e-6)


def test_answers_that_name_no_label_or_two_are_unusable_and_counted(tiny_llm, monkeypatch):
    llm = tiny_llm("qwen2_audio")
    written = iter(["Happy.", "I hear nothing", "sad and angry"])
    monkeypatch.setattr(llm, "write", lambda messages, clips, most: next(written))
    text = FreeTextLLM(llm)
    given = text.score(text.read([], []), QUERIES).exp()
    np.testing.assert_allclose(given, [[0.25, 0.5, 0.25], [1 / 3] * 3, [1 / 3] * 3], atol=1e-6)
    assert text.describe() == {"model": llm.name, "answers": "text", "unusable answers": 0.6667}
    assert text.with_labels(llm.emotions).usable is text.usable


def test_text_is_an_option_of_the_method_here_and_at_an_endpoint(
    toy_corpus, toy_episodes, tiny_folder, tmp_path
):
    context = RouteContext(
        toy_corpus.emotions, toy_corpus.recordings, tmp_path / "models", tmp_path / "cache"
    )
    support, queries = toy_episodes.episodes[0].support, toy_episodes.episodes[0].query_utterances[:2]
    name = f"audio-llm-1:{tiny_folder('qwen2_audio')}+text"
    check_method(name, 8)
    method = build_method(name, context)
    assert method.personalize(support).predict_proba(queries).shape == (2, 4)
    assert method.describe()["answers"] == "text"
    with stub_endpoint(answer("sad")) as stub:
        far = build_method(f"audio-llm-1:far+endpoint={stub.url}+text", context)
        given = far.personalize(support).predict_proba(queries)
    assert all("logprobs" not in body and "response_format" not in body for body in stub.requests)
    assert len(stub.requests) == 2
    np.testing.assert_allclose(given[:, 3], 0.4, atol=1e-6)
    assert far.describe()["read from text"] == 2
