import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from speechlm_icl.model.audio_tokens import (
    answer_numbers,
    clip_at_each_position,
    expand_audio_tokens,
    insert_audio,
    pad_left,
)
from speechlm_icl.prompt.prompt import IGNORE, TEXT, EncodedPrompt, collate, positions


@settings(max_examples=40, deadline=None)
@given(
    clip_lengths=st.lists(st.integers(1, 3), max_size=5),
    text_before=st.integers(0, 3),
    shuffle=st.randoms(use_true_random=False),
)
def test_every_frame_of_every_clip_is_inserted_at_its_position(clip_lengths, text_before, shuffle):
    order = list(range(len(clip_lengths)))
    shuffle.shuffle(order)
    row = [-1] * (text_before + 1)
    for clip in order:  # clips may be in any order in the batch
        row += [clip] * clip_lengths[clip] + [-1]
    clips = torch.tensor([row])
    embeddings = torch.randn(1, len(row), 4)
    frames = [torch.randn(length, 4) for length in clip_lengths]

    filled = insert_audio(embeddings, clips, frames)

    expected = embeddings.clone()
    next_frame = [0] * len(frames)
    for position, clip in enumerate(row):
        if clip >= 0:
            expected[0, position] = frames[clip][next_frame[clip]]
            next_frame[clip] += 1
    assert_close(filled, expected)


def test_a_clip_with_more_placeholders_than_frames_is_refused_even_if_the_totals_agree():
    clips = torch.tensor([[0, 0, -1, 1]])
    embeddings = torch.zeros(1, 4, 2)
    with pytest.raises(ValueError, match="clip 0 has 2 audio placeholders in the prompt but 1 frames"):
        insert_audio(embeddings, clips, [torch.ones(1, 2), torch.ones(2, 2)])


def test_clips_without_placeholders_and_placeholders_without_clips_are_refused():
    with pytest.raises(ValueError, match="clip 1 has 0 audio placeholders"):
        insert_audio(torch.zeros(1, 2, 2), torch.tensor([[0, -1]]), torch.ones(2, 1, 2))
    with pytest.raises(ValueError, match="placeholders for 2 clips, but 1 were given"):
        insert_audio(torch.zeros(1, 2, 2), torch.tensor([[0, 1]]), torch.ones(1, 1, 2))


def test_gradients_reach_text_embeddings_and_frames():
    embeddings = torch.zeros(1, 3, 2, requires_grad=True)
    frames = torch.ones(1, 1, 2, requires_grad=True)
    insert_audio(embeddings, torch.tensor([[-1, 0, -1]]), frames).sum().backward()
    assert_close(embeddings.grad[0, :, 0], torch.tensor([1.0, 0.0, 1.0]))
    assert_close(frames.grad, torch.ones(1, 1, 2))


PROMPT = EncodedPrompt(
    token_ids=[5, 0, 6, 7, 0, 8],
    clips=[TEXT, 0, TEXT, TEXT, 1, TEXT],
    answers=[TEXT, TEXT, 0, TEXT, TEXT, TEXT],
    ends=[TEXT, TEXT, TEXT, 0, TEXT, 1],
    targets=[IGNORE, IGNORE, 6, 7, IGNORE, 8],
)


def test_a_placeholder_is_repeated_once_for_each_embedding_of_its_clip():
    expanded = expand_audio_tokens(PROMPT, [3, 1])
    assert expanded.clips == [TEXT, 0, 0, 0, TEXT, TEXT, 1, TEXT]
    assert expanded.targets == [IGNORE] * 4 + [6, 7, IGNORE, 8]
    positions = zip(expanded.token_ids, expanded.clips, strict=True)
    assert [token for token, clip in positions if clip == TEXT] == [5, 6, 7, 8]
    assert expand_audio_tokens(PROMPT, [1, 1]) == PROMPT


@pytest.mark.parametrize("lengths", [[], [2], [1, 2, 3]])
def test_a_number_of_clips_other_than_the_prompts_is_refused(lengths):
    with pytest.raises(ValueError, match=f"placeholders for 2 clips, but {len(lengths)} were given"):
        expand_audio_tokens(PROMPT, lengths)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(1, 4), max_size=4), min_size=1, max_size=4), apart=st.integers(0, 2)
)
def test_clips_are_recovered_from_placeholders_and_lengths(rows, apart):
    """With and without text between the clips; padding on the right."""
    expected, number = [], 0
    for lengths in rows:
        row = [TEXT]
        for length in lengths:
            row += [number] * length + [TEXT] * apart
            number += 1
        expected.append(row)
    width = max(map(len, expected))
    expected = torch.tensor([row + [TEXT] * (width - len(row)) for row in expected])
    flat = [length for lengths in rows for length in lengths]
    assert torch.equal(clip_at_each_position(expected != TEXT, flat), expected)


@pytest.mark.parametrize(
    ("placeholders", "lengths", "message"),
    [
        ([[1, 1, 0, 1]], [2], "3 audio placeholders, but the 1 clips given take 2"),
        ([[1, 1, 0, 1]], [1, 1, 2], "3 audio placeholders, but the 3 clips given take 4"),
        ([[1, 1, 0, 1]], [1, 2], "clip 1 takes 2 positions"),
        ([[0, 1], [1, 1]], [2, 1], "clip 0 takes 2 positions"),
    ],
)
def test_clips_whose_lengths_differ_from_their_placeholders_are_refused_even_if_the_totals_agree(
    placeholders, lengths, message
):
    with pytest.raises(ValueError, match=message):
        clip_at_each_position(torch.tensor(placeholders).bool(), lengths)


def test_padding_moves_to_the_left_and_positions_count_real_tokens():
    ids, mask = torch.tensor([[4, 5, 0], [6, 7, 8]]), torch.tensor([[1, 1, 0], [1, 1, 1]])
    moved, moved_mask = pad_left(ids, mask)
    assert moved.tolist() == [[0, 4, 5], [6, 7, 8]]
    assert moved_mask.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert positions(moved_mask).tolist() == [[0, 0, 1], [0, 1, 2]]
    again, _ = pad_left(moved, moved_mask)
    assert torch.equal(again, moved)


def test_positions_get_the_number_of_the_answer_they_belong_to():
    batch = collate([expand_audio_tokens(PROMPT, [3, 1]), expand_audio_tokens(PROMPT, [1, 2])])
    assert answer_numbers(batch.clips).tolist() == [[-1, 0, 0, 0, 0, 0, 1, 1], [-1, 0, 0, 0, 1, 1, 1, 1]]
