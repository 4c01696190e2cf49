import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from speechlm_icl.scoring.label_trie import LabelTrie

VOCABULARY = 4


@st.composite
def labels(draw):
    """Label tokens of which none begins another, some with stems in common."""
    drawn = draw(st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=3), min_size=1))
    found = []
    for label in map(tuple, drawn):
        if not any(label[: len(one)] == one or one[: len(label)] == label for one in found):
            found.append(label)
    return found


@settings(max_examples=50, deadline=None)
@given(labels())
def test_every_stem_is_read_once_after_its_beginnings_and_scores_are_sums_along_the_path(labels):
    tree = LabelTrie(labels)
    stems = tree.nodes
    assert len(set(stems)) == len(stems)
    assert set(stems) == {label[:n] for label in labels for n in range(len(label))}
    for number, stem in enumerate(stems[1:], start=1):
        assert stems.index(stem[:-1]) < number
        assert tree.tokens[number - 1] == stem[-1]
        assert tree.depths[number] == len(stem)

    logits = torch.randn(2, len(stems), VOCABULARY)
    scores = tree.scores(logits)
    for query in range(2):
        for emotion, label in enumerate(labels):
            expected = sum(
                logits[query, stems.index(label[:n])].log_softmax(dim=0)[label[n]] for n in range(len(label))
            )
            assert_close(scores[query, emotion], expected)


@settings(max_examples=50, deadline=None)
@given(labels())
def test_the_longest_stems_hold_every_stem_and_none_of_each_other(labels):
    tree = LabelTrie(labels)
    longest = tree.paths()
    assert {end[:n] for end in longest for n in range(len(end) + 1)} == set(tree.nodes)
    for a, row in zip(tree.nodes, tree.ancestors.tolist(), strict=True):
        assert row == [a[: len(b)] == b for b in tree.nodes]
    assert all(one == other or other[: len(one)] != one for one in longest for other in longest)


def test_labels_of_one_token_have_no_stem_to_read():
    tree = LabelTrie([(0,), (1,), (2,)])
    assert tree.nodes == [()]
    assert tree.tokens.shape == (0,)
