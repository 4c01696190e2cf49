from __future__ import annotations

import pytest

from perser.errors import UserError, require_package


def test_the_error_for_a_missing_package_names_its_extra():
    require_package("json", "some", "this")
    with pytest.raises(UserError, match=r"this needs the package no_such_one: pip install 'perser\[some\]'"):
        require_package("no_such_one", "some", "this")
