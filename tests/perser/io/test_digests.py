from __future__ import annotations

import hashlib
import os

from perser.io.checksums import file_sha256


def test_it_is_that_of_the_content_and_follows_a_change(tmp_path):
    file = tmp_path / "weights"
    for content in (b"one", b"two"):
        file.write_bytes(content)
        os.utime(file, ns=(0, len(content) + content[0]))  # two writes may fall into one tick of the clock
        assert file_sha256(file) == hashlib.sha256(content).hexdigest()
