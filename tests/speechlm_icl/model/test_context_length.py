import pytest

from perser.episodes.episode import Support, Task
from perser.errors import UserError
from perser.labels import EmotionSet
from speechlm_icl.model import context_length
from speechlm_icl.model.context_length import check_fits, check_query_fits, check_training_fits
from speechlm_icl.personalizer import SpeechLMPersonalizer
from speechlm_icl.projectors.base import ProjectorOptions
from speechlm_icl.prompt.prompt import PromptFormat, PromptOptions, collate, word_tokenizer

EMOTIONS = EmotionSet(("angry", "happy", "sad"))
OPTIONS = PromptOptions("What is heard ?", label_words={"sad": "very sad"})
FORMAT = PromptFormat(word_tokenizer(OPTIONS.texts(EMOTIONS)), EMOTIONS, OPTIONS)
ANSWERS = [[0], [1, 2], [2], [0]]


def length(pairs: int) -> int:
    """Return the positions of an enrollment and a query with the longest label."""
    return len(collate([FORMAT.encode([*ANSWERS[:pairs], [2]])]).token_ids[0]) - len(FORMAT.template.end)


@pytest.mark.parametrize("pairs", [0, 1, 2, 3])
def test_the_error_says_how_many_pairs_fit(pairs):
    clips = [1] * 5
    check_fits(FORMAT, ANSWERS, clips, length(4))
    check_fits(FORMAT, ANSWERS, clips, None)
    for context in (length(pairs), length(pairs + 1) - 1):
        with pytest.raises(
            UserError, match=rf"takes {length(4)} positions.*has {context}: {pairs} pairs fit"
        ):
            check_fits(FORMAT, ANSWERS, clips, context)


def test_each_clip_counts_with_its_length():
    with pytest.raises(UserError, match="3 pairs fit"):
        check_fits(FORMAT, ANSWERS, [1, 1, 1, 7, 1], length(4) + 5)
    check_fits(FORMAT, ANSWERS, [1, 1, 1, 7, 1], length(4) + 6)


def test_a_too_long_instruction_is_named():
    with pytest.raises(UserError, match="shorten the instruction"):
        check_fits(FORMAT, [], [1], length(0) - 1)


def test_training_sequences_that_do_not_fit_are_refused():
    """tiny-llama has 4,096 positions. A pair takes two words, an end and 300 positions of audio."""
    task = Task("p", tuple(f"u{i}" for i in range(40)), (("sad",),) * 40)
    for projector, seconds in (
        (ProjectorOptions(tokens_per_clip=300), 1.0),
        (ProjectorOptions(kind="stack", window_frames=2, windows_per_token=2), 24.0),
    ):
        lengths = dict.fromkeys(task.utterances, seconds)
        arguments = ("tiny-llama", OPTIONS, EMOTIONS, [task])
        check_training_fits(*arguments, 12, projector, lengths.__getitem__)
        with pytest.raises(UserError, match=r"prompt of 13 pairs .* has 4096: 12 pairs fit"):
            check_training_fits(*arguments, 13, projector, lengths.__getitem__)


def test_a_support_that_exceeds_the_context_is_refused(build, store):
    model = build()
    model.language_model.causal.config.max_position_embeddings = 3 * 5 + 2
    support = Support(tuple(f"u{i}" for i in range(7)), (("sad",),) * 7, seed=0)
    SpeechLMPersonalizer(model, store, 5).personalize(support)
    with pytest.raises(UserError, match="5 pairs fit"):
        SpeechLMPersonalizer(model, store).personalize(support)


def test_a_query_that_is_too_long_after_the_enrollment_is_named():
    enrolled = length(2) - length(0) + len(FORMAT.template.start)
    for clip, context in ((1, length(2)), (7, length(2) + 6)):
        check_query_fits(FORMAT, enrolled, {"short": 1, "long": clip}, context)
        check_query_fits(FORMAT, enrolled, {"short": 1, "long": clip}, None)
    with pytest.raises(UserError, match=rf"'long' takes 7 .* has {length(2) + 5}: cut the recording"):
        check_query_fits(FORMAT, enrolled, {"short": 1, "long": 7}, length(2) + 5)


def test_a_query_that_exceeds_the_context_is_refused_before_it_is_read(build, store):
    model = build()
    support = Support(("u0", "u1"), (("sad",),) * 2, seed=0)
    predictor = SpeechLMPersonalizer(model, store).personalize(support)
    predictor.predict_proba(["u2"])
    model.language_model.causal.config.max_position_embeddings = predictor.enrollments[0].length + 1
    with pytest.raises(UserError, match="'u2' takes 1 positions"):
        predictor.predict_proba(["u2"])


@pytest.mark.parametrize("pairs", [0, 2])
def test_the_longest_training_sequence_counts_up_to_its_last_token(pairs, monkeypatch):
    answers = [("angry", "sad"), ("happy",), ("sad",), ("angry",)]
    task = Task("p", tuple(f"u{i}" for i in range(4)), tuple(answers))
    classes = [[EMOTIONS.index(word) for word in words] for words in [answers[0], answers[2], answers[1]]]
    needed = len(FORMAT.encode(classes[: pairs + 1]).token_ids)
    tokenizer = word_tokenizer(OPTIONS.texts(EMOTIONS))
    arguments = ("local", OPTIONS, EMOTIONS, [task], pairs, ProjectorOptions(), lambda utterance: 1.0)
    for context, fits in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr(
            context_length, "tokenizer_and_context", lambda *_, context=context: (tokenizer, context)
        )
        if fits:
            check_training_fits(*arguments)
        else:
            with pytest.raises(UserError, match=f"take.? {needed} positions"):
                check_training_fits(*arguments)
