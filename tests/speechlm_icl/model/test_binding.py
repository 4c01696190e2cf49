"""Bound pairs: the tokens of an answer carry its clip."""

import pytest
import torch
from torch.testing import assert_close

from speechlm_icl.model.binding import PairBinding, find_answers
from speechlm_icl.model.speech_lm import SpeechLMForICL
from speechlm_icl.prompt.chat_template import PromptTemplate
from speechlm_icl.prompt.prompt import TEXT, PromptOptions, word_tokenizer
from speechlm_icl.scoring.scoring import label_log_probabilities

KINDS = {
    "pooled": {},
    "two tokens a clip": {"kind": "attention", "tokens_per_clip": 2},
    "by length": {"kind": "stack", "windows_per_token": 2},
}
ANSWERS = [[1], [0, 2], [2]]


def clips_for(kind: str, count: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    if kind == "pooled":
        return torch.randn(count, 3, 5, generator=generator)
    return [torch.randn(2 + number, 3, 5, generator=generator) for number in range(count)]


@pytest.mark.parametrize("query_follows", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_an_answers_words_get_a_linear_map_of_its_clip_and_its_end_the_words_too(build, kind, query_follows):
    """Compared with a loop over the pairs, for two prompts of unlike length in one batch. The words of a
    prompt's last answer get nothing, unless a query follows."""
    model = build(**KINDS[kind], prompt={"label_words": {"happy": "very glad"}})
    clips = clips_for(kind, 4)
    batch = model.batch([model.prompt.encode(ANSWERS), model.prompt.encode([[1]])], clips)
    bound = model.embed(batch, clips, query_follows)
    binding, model.binding = model.binding, None
    plain = model.embed(batch, clips)
    expected, frames = plain.clone(), model.projector(clips)
    for number in range(4):
        rows, columns = (batch.clips == number).nonzero(as_tuple=True)
        begin = int(columns[-1]) + 1
        answer = model.prompt.answer_tokens([*ANSWERS, [1]][number])
        end = begin + len(answer) - 1
        words = plain[rows[0], begin:end].mean(dim=0)
        mapped = binding.clip.weight @ frames[number].mean(dim=0)
        expected[rows[0], end] += words + mapped
        if query_follows or number not in (2, 3):
            expected[rows[0], begin:end] += mapped
    assert_close(bound, expected)
    assert not torch.equal(bound, plain)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chat", [False, True])
@torch.no_grad()
def test_scores_after_the_prefix_cache_equal_full_recomputation(
    build, kind, chat, llama_folder, chat_folder, full_pass_scores
):
    """1e-4 in float32, with labels of several tokens and answers of several emotions."""
    folder = chat_folder if chat else llama_folder
    model = build(str(folder), **KINDS[kind], prompt={"label_words": {"happy": "very glad"}})
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.normal_(std=0.1)
    clips = clips_for(kind, 5)

    class Store:
        level = "pooled" if kind == "pooled" else "windows:5"

        def __getitem__(self, name):
            return clips[int(name)]

        def stack(self, names):
            return torch.stack([clips[int(name)] for name in names])

    expected = full_pass_scores(model, Store(), ["0", "1", "2"], ANSWERS, ["3", "4"])
    scores = label_log_probabilities(model, clips[:3], ANSWERS, clips[3:])
    assert_close(scores, expected, atol=1e-4, rtol=0)
    model.binding = None
    assert (label_log_probabilities(model, clips[:3], ANSWERS, clips[3:]) - scores).abs().max() > 1e-3


def test_answers_are_found_in_text_with_cues_and_padding_on_either_side():
    template = PromptTemplate(start=[9], cue=[7, 8], end=[7], following=[6])
    # start, clip 0 of two positions, cue, answer 3 4, end, following, clip 1, cue, nothing yet
    tokens = [9, 0, 0, 7, 8, 3, 4, 7, 6, 0, 7, 8]
    clips = [TEXT, 0, 0, *[TEXT] * 6, 1, TEXT, TEXT]
    rows = [([5, 5], []), ([], [5, 5])]
    token_ids = torch.tensor([before + tokens + after for before, after in rows])
    numbers = torch.tensor([[TEXT] * len(a) + clips + [TEXT] * len(b) for a, b in rows])
    answers, ends = find_answers(token_ids, numbers, template)
    for row, (before, _) in enumerate(rows):
        shift = len(before)
        assert (answers[row] == 0).nonzero()[:, 0].tolist() == [5 + shift, 6 + shift]
        assert (ends[row] == 0).nonzero()[:, 0].tolist() == [7 + shift]
    assert not (answers == 1).any()
    assert not (ends == 1).any()


def test_the_next_clips_answer_does_not_bind_a_clip_without_one():
    template = PromptTemplate(start=[], cue=[], end=[7], following=[])
    answers, ends = find_answers(
        torch.tensor([[0, 3, 0, 4, 7]]), torch.tensor([[0, TEXT, 1, TEXT, TEXT]]), template
    )
    assert ends.tolist() == [[TEXT, TEXT, TEXT, TEXT, 1]]
    assert answers.tolist() == [[TEXT, TEXT, TEXT, 1, TEXT]]


def test_gradients_reach_the_clip_the_answer_and_the_map():
    binding = PairBinding(4)
    embeddings = torch.randn(1, 3, 4, requires_grad=True)
    frames = torch.randn(1, 2, 4, requires_grad=True)
    clips, answers, ends = (torch.where(torch.arange(3)[None] == place, 0, TEXT) for place in range(3))
    binding(embeddings, frames, clips, answers, ends)[0, 2].sum().backward()
    assert embeddings.grad[0].abs().sum(dim=1).bool().tolist() == [False, True, True]
    assert frames.grad.abs().sum() > 0
    assert binding.clip.weight.grad.abs().sum() > 0


def test_a_saved_model_binds_as_before_and_one_without_binding_stays_without(build, store, tmp_path):
    queries = store.stack(["u5", "u6"])
    for bind in (True, False):
        model = build(prompt={"bind": bind})
        assert (model.binding is not None) == bind
        model.save_pretrained(tmp_path / str(bind))
        loaded = SpeechLMForICL.from_pretrained(tmp_path / str(bind))
        assert (loaded.binding is not None) == bind
        arguments = store.stack(["u0", "u1"]), [[0], [1]], queries
        assert_close(label_log_probabilities(loaded, *arguments), label_log_probabilities(model, *arguments))


def test_a_config_of_an_earlier_version_is_unbound(build, tmp_path):
    config = build(prompt={"bind": False}).config
    for name in ("bind", "other"):
        del config.prompt[name]
    assert SpeechLMForICL(config).binding is None


def test_a_vocabulary_made_for_prompts_has_words_for_labels_of_peoples_own(emotions):
    tokenizer = word_tokenizer(PromptOptions().texts(emotions))
    assert len(tokenizer) > 18 + 3
    assert len(word_tokenizer(PromptOptions(bind=False).texts(emotions))) < 10
