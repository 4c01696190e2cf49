import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from speechlm_icl.model.audio_tokens import answer_numbers, clip_at_each_position, expand, pad_left, insert_audio
from speechlm_icl.prompt.prompt import IGNORE, TEXT, EncodedPrompt, collate, positions


@settings(max_examples=40, deadline=None)
@given(
    clip_lengths=st.lists(st.integers(1, 3), max_size=5),
    text_before=st.integers(0, 3),
    shuffle=st.randoms(use_true_random=False),
)
def test_splice_puts_every_frame_of_every_clip_in_its_place(clip_lengths, text_before, shuffle):
    order = list(range(len(clip_lengths)))
    shuffle.shuffle(order)
    row = [-1] * (text_before + 1)
    for clip in order:  # clips may stand in any order in the batch
        row += [clip] * clip_lengths[clip] + [-1]
    clips = torch.tensor([row])
    embeddings = torch.randn(1, len(row), 4)
    frames = [torch.randn(length, 4) for length in clip_lengths]

    spliced = insert_audio(embeddings, clips, frames)

    expected = embeddings.clone()
    seen = [0] * len(frames)
    for position, clip in enumerate(row):
        if clip >= 0:
            expected[0, position] = frames[clip][seen[clip]]
            seen[clip] += 1
    assert_close(spliced, expected)


def test_a_clip_with_more_frames_than_places_is_refused_even_if_the_totals_agree():
    clips = torch.tensor([[0, 0, -1, 1]])
    embeddings = torch.zeros(1, 4, 2)
    with pytest.raises(ValueError, match="clip 0 has 2 places in the prompt but 1 frames"):
        insert_audio(embeddings, clips, [torch.ones(1, 2), torch.ones(2, 2)])


def test_more_clips_than_the_prompt_has_places_for_are_refused():
    with pytest.raises(ValueError, match="clip 1 has 0 places"):
        insert_audio(torch.zeros(1, 2, 2), torch.tensor([[0, -1]]), torch.ones(2, 1, 2))
    with pytest.raises(ValueError, match="places for 2 clips, 1 were given"):
        insert_audio(torch.zeros(1, 2, 2), torch.tensor([[0, 1]]), torch.ones(1, 1, 2))


def test_splicing_lets_gradients_through_to_text_and_frames():
    embeddings = torch.zeros(1, 3, 2, requires_grad=True)
    frames = torch.ones(1, 1, 2, requires_grad=True)
    insert_audio(embeddings, torch.tensor([[-1, 0, -1]]), frames).sum().backward()
    assert_close(embeddings.grad[0, :, 0], torch.tensor([1.0, 0.0, 1.0]))
    assert_close(frames.grad, torch.ones(1, 1, 2))


PROMPT = EncodedPrompt([5, 0, 6, 7, 0, 8], [TEXT, 0, TEXT, TEXT, 1, TEXT], [IGNORE, IGNORE, 6, 7, IGNORE, 8])


def test_one_placeholder_a_clip_becomes_as_many_as_the_clip_is_long():
    expanded = expand(PROMPT, [3, 1])
    assert expanded.clips == [TEXT, 0, 0, 0, TEXT, TEXT, 1, TEXT]
    assert expanded.targets == [IGNORE] * 4 + [6, 7, IGNORE, 8]
    assert [one for one, clip in zip(expanded.token_ids, expanded.clips, strict=True) if clip == TEXT] == [
        5,
        6,
        7,
        8,
    ]
    assert expand(PROMPT, [1, 1]) == PROMPT


@pytest.mark.parametrize("lengths", [[], [2], [1, 2, 3]])
def test_another_number_of_clips_than_the_prompt_has_places_for_is_refused(lengths):
    with pytest.raises(ValueError, match=f"places for 2 clips, {len(lengths)} were given"):
        expand(PROMPT, lengths)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(1, 4), max_size=4), min_size=1, max_size=4), apart=st.integers(0, 2)
)
def test_the_clips_are_found_again_from_the_places_and_their_lengths(rows, apart):
    """Text between the clips or none; padding on the right."""
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
    ("places", "lengths", "message"),
    [
        ([[1, 1, 0, 1]], [2], "3 audio placeholders, but the 1 clips given take 2"),
        ([[1, 1, 0, 1]], [1, 1, 2], "3 audio placeholders, but the 3 clips given take 4"),
        ([[1, 1, 0, 1]], [1, 2], "clip 1 takes 2 places"),
        ([[0, 1], [1, 1]], [2, 1], "clip 0 takes 2 places"),
    ],
)
def test_clips_of_other_lengths_than_their_places_are_refused_even_if_the_totals_agree(
    places, lengths, message
):
    with pytest.raises(ValueError, match=message):
        clip_at_each_position(torch.tensor(places).bool(), lengths)


def test_padding_moves_to_the_left_and_positions_count_what_is_real():
    ids, mask = torch.tensor([[4, 5, 0], [6, 7, 8]]), torch.tensor([[1, 1, 0], [1, 1, 1]])
    moved, moved_mask = pad_left(ids, mask)
    assert moved.tolist() == [[0, 4, 5], [6, 7, 8]]
    assert moved_mask.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert positions(moved_mask).tolist() == [[0, 0, 1], [0, 1, 2]]
    again, _ = pad_left(moved, moved_mask)
    assert torch.equal(again, moved)


def test_answers_are_numbered_by_the_clips_before_them():
    batch = collate([expand(PROMPT, [3, 1]), expand(PROMPT, [1, 2])])
    assert answer_numbers(batch.clips).tolist() == [[-1, 0, 0, 0, 0, 0, 1, 1], [-1, 0, 0, 0, 1, 1, 1, 1]]
