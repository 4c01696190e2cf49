"""Files of predictions are read as they were written, and damaged or other files are refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.measuring.cells import Cell, run_cells
from benchmarks.measuring.predictions import Predictions, read_metadata
from perser.errors import UserError


def test_predictions_round_trip(case, tmp_path):
    run_cells(case, tmp_path)
    path = tmp_path / Cell("random", 1).file
    loaded, episodes = Predictions.load(path), case.episodes_by_seed[1]
    assert list(loaded.episodes) == [episode.episode_id for episode in episodes]
    assert loaded.emotions == case.loaded_corpus.emotions.names
    table = pq.read_table(path)
    assert table["utterance_id"].to_pylist() == [
        utterance for episode in episodes for utterance in episode.query_utterances
    ]
    assert table["heard"].to_pylist() == [
        list(words) for episode in episodes for words in episode.query_emotions
    ]
    probabilities = np.concatenate([answer.probabilities for answer in loaded.answers])
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (len(table), 4)
    np.testing.assert_array_equal(table["probability_happy"].to_numpy(), probabilities[:, 1])


def test_a_file_with_damaged_rows_is_refused(case, tmp_path):
    run_cells(case, tmp_path)
    path = tmp_path / Cell("random", 0).file
    content = bytearray(path.read_bytes())
    content[4:204] = bytes(200)  # its beginning and its end, where the metadata is, are undamaged
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"seed-0.parquet is damaged .* delete it"):
        Predictions.load(path)


@pytest.mark.parametrize("content", [b"", b"PAR1", None])
def test_another_file_than_predictions_is_refused(content, tmp_path):
    path = tmp_path / "seed-0.parquet"
    if content is None:
        pq.write_table(pa.table({"a": [1]}), path)
    else:
        path.write_bytes(content)
    assert read_metadata(path) is None
    with pytest.raises(UserError, match="no file of predictions"):
        Predictions.load(path)


def test_a_file_with_a_damaged_column_name_is_refused(case, tmp_path):
    run_cells(case, tmp_path)
    path = tmp_path / Cell("random", 0).file
    path.write_bytes(path.read_bytes().replace(b"probability_happy", b"probabilitx_happy"))
    with pytest.raises(UserError, match=r"seed-0.parquet is damaged .* delete it"):
        Predictions.load(path)
