"""The folder of profiles: names, what is in memory, and what a killed server leaves behind."""

from __future__ import annotations

import os
import time

import pytest
from fastapi import HTTPException

from perser.errors import UserError
from perser.server import profiles as module
from perser.server.profiles import KeptProfiles


@pytest.fixture
def personal(recognizer, write_clip):
    return recognizer.enroll([(write_clip("a.wav", 0), "sad")])


@pytest.fixture
def kept(profiles, recognizer) -> KeptProfiles:
    return KeptProfiles(profiles, recognizer, most=3)


BAD = (
    "",
    ".",
    "..",
    "../a",
    "a/b",
    "a\\b",
    "A",
    "a b",
    "a.b",
    "-a",
    "_a",
    "é",
    "a\n",
    "a" * 65,
    "con",
    "lpt1",
    "nul",
)


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_is_no_safe_file_name_is_refused(name, kept, personal, profiles):
    for use in (kept.personal, kept.delete, kept.check, lambda name: kept.keep(name, personal)):
        with pytest.raises(HTTPException, match="no name for a profile"):
            use(name)
    assert list(profiles.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "0", "alice-2_b", "a" * 64, "contact"])
def test_a_safe_name_is_a_file(name, kept, personal, profiles):
    kept.keep(name, personal)
    assert kept.names() == [name]
    assert (profiles / f"{name}.profile").is_file()


def test_only_the_last_ones_used_are_in_memory(kept, personal, monkeypatch, recognizer):
    monkeypatch.setattr(module, "MOST_IN_MEMORY", 2)
    read = []
    of_file = type(recognizer).personal
    monkeypatch.setattr(
        type(recognizer), "personal", lambda self, path: read.append(path.stem) or of_file(self, path)
    )
    for name in "abc":
        kept.keep(name, personal)
    for name in "abacab":
        kept.personal(name)
    assert "".join(read) == "abcb"
    assert len(kept._ready) == 2


def test_a_file_that_another_program_replaces_is_read_again(kept, personal, recognizer, write_clip, profiles):
    kept.keep("a", personal)
    assert len(kept.personal("a").enrolled) == 1
    pairs = [(write_clip("a.wav", 0), "sad"), (write_clip("b.wav", 1), "angry")]
    recognizer.enroll(pairs).save(profiles / "a.profile")
    assert len(kept.personal("a").enrolled) == 2
    (profiles / "a.profile").unlink()
    with pytest.raises(HTTPException, match="no profile 'a'"):
        kept.personal("a")


def test_no_more_are_kept_than_the_limit_but_each_can_be_replaced(kept, personal):
    for name in "abc":
        kept.keep(name, personal)
    with pytest.raises(HTTPException, match="3 profiles are kept") as caught:
        kept.keep("d", personal)
    assert caught.value.status_code == 507
    kept.keep("a", personal)
    kept.delete("b")
    kept.keep("d", personal)
    assert kept.names() == ["a", "c", "d"]


def test_a_file_of_something_else_is_not_replaced(kept, personal, profiles):
    (profiles / "a.profile").write_text("my notes")
    with pytest.raises(HTTPException, match="a exists and is no profile"):
        kept.keep("a", personal)
    assert (profiles / "a.profile").read_text() == "my notes"


def test_what_a_killed_server_left_is_removed_and_nothing_else(kept, personal, profiles, recognizer):
    kept.keep("a", personal)
    for name in (".b.profile-old", ".c.profile-new", "mine-old"):
        (profiles / name).mkdir()
        (profiles / name / "part").write_text("half")
    for name in (".b.profile-old", "mine-old"):
        os.utime(profiles / name, (time.time() - 7200,) * 2)
    again = KeptProfiles(profiles, recognizer, most=3)
    assert {path.name for path in profiles.iterdir()} == {"a.profile", ".c.profile-new", "mine-old"}
    assert again.names() == ["a"]


def test_a_folder_that_cannot_be_written_to_is_refused(recognizer, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="give a folder for profiles"):
        KeptProfiles(tmp_path / "file", recognizer, most=3)
