"""`perser serve`: its options and its errors, before a model is loaded."""

from __future__ import annotations

import pytest

from perser.cli.main import main
from perser.cli.parser import parse_command
from perser.server import command
from perser.web.limits import ServerLimits

TOKEN = "0123456789abcdef"


def refused(capsys, *options: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--model", "nowhere", *options])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_options_give_limits():
    values = parse_command(
        command.serve, ["--model", "one", "--limits.at_once", "4", "--limits.seconds", "9"]
    )
    assert values["limits"] == ServerLimits(seconds=9, at_once=4)
    assert values["host"] == "127.0.0.1"


def test_without_a_package_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr("perser.errors.find_spec", lambda package: None)
    assert "pip install 'perser[serve]'" in refused(capsys)


def test_what_cannot_be_served_is_refused_before_the_model_is_looked_for(capsys, monkeypatch):
    monkeypatch.delenv("PERSER_TOKEN", raising=False)
    assert "token: none given, but others may reach 0.0.0.0" in refused(capsys, "--host", "0.0.0.0")
    assert "token: 5 characters" in refused(capsys, "--token", "short")
    assert "port: 70000" in refused(capsys, "--port", "70000")
    assert "more than 0" in refused(capsys, "--limits.waiting", "0")
    monkeypatch.setenv("PERSER_TOKEN", "short")
    assert "token: 5 characters" in refused(capsys, "--host", "0.0.0.0")
    monkeypatch.setenv("PERSER_TOKEN", TOKEN)
    assert "nowhere': there is no such folder" in refused(capsys, "--host", "0.0.0.0")
