import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from speechlm_icl.scoring.label_trie import LabelTrie

VOCABULARY = 4


@st.composite
def label_lists(draw):
    """Labels of which none is a prefix of another, some with prefixes in common."""
    drawn = draw(st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=3), min_size=1))
    labels = []
    for new in map(tuple, drawn):
        if not any(new[: len(label)] == label or label[: len(new)] == new for label in labels):
            labels.append(new)
    return labels


@settings(max_examples=50, deadline=None)
@given(label_lists())
def test_each_node_comes_once_after_its_ancestors_and_scores_are_sums_along_paths(labels):
    trie = LabelTrie(labels)
    nodes = trie.nodes
    assert len(set(nodes)) == len(nodes)
    assert set(nodes) == {label[:n] for label in labels for n in range(len(label))}
    for number, node in enumerate(nodes[1:], start=1):
        assert nodes.index(node[:-1]) < number
        assert trie.tokens[number - 1] == node[-1]
        assert trie.depths[number] == len(node)

    logits = torch.randn(2, len(nodes), VOCABULARY)
    scores = trie.scores(logits)
    for query in range(2):
        for emotion, label in enumerate(labels):
            expected = sum(
                logits[query, nodes.index(label[:n])].log_softmax(dim=0)[label[n]] for n in range(len(label))
            )
            assert_close(scores[query, emotion], expected)


@settings(max_examples=50, deadline=None)
@given(label_lists())
def test_paths_pass_through_every_node_and_none_is_a_prefix_of_another(labels):
    trie = LabelTrie(labels)
    paths = trie.paths()
    assert {path[:n] for path in paths for n in range(len(path) + 1)} == set(trie.nodes)
    for node, row in zip(trie.nodes, trie.ancestors.tolist(), strict=True):
        assert row == [node[: len(other)] == other for other in trie.nodes]
    assert all(path == other or other[: len(path)] != path for path in paths for other in paths)


def test_labels_of_a_single_token_have_only_the_root():
    trie = LabelTrie([(0,), (1,), (2,)])
    assert trie.nodes == [()]
    assert trie.tokens.shape == (0,)
