from __future__ import annotations

import pytest

from perser.errors import UserError, one_line, require_package


def test_the_error_for_a_missing_package_names_its_extra():
    require_package("json", "some", "this")
    with pytest.raises(UserError, match=r"this needs the package no_such_one: pip install 'perser\[some\]'"):
        require_package("no_such_one", "some", "this")


def test_what_a_terminal_cannot_show_is_escaped():
    assert one_line("a\ue000b\u202ec\udc80\u200b é 😀 名") == r"a\ue000b\u202ec\udc80\u200b é 😀 名"
    assert one_line("a\x1b[31m\nb\x00") == "a [31m b"
    assert one_line("\ue000" * 5000).isprintable()
