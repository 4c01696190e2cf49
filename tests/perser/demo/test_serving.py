from __future__ import annotations

import json
import os
import socket
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from perser.demo.limits import Limits
from perser.errors import UserError


@pytest.fixture
def port(address) -> int:
    return int(address.rpartition(":")[2])


def asked(address, path="/", data=None, **headers):
    """The status, headers and body of an answer."""
    try:
        with build_opener(ProxyHandler({})).open(Request(address + path, data, headers)) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except HTTPError as error:
        return error.code, error.headers, error.read().decode()


def test_it_is_for_this_machine_and_this_name_alone(address, port):
    assert address.startswith("http://127.0.0.1:")
    assert asked(address)[0] == 200
    assert asked(address, Host=f"localhost:{port}")[0] == 200
    assert asked(address, Host="elsewhere.example")[0] == 400
    with socket.socket() as outside, pytest.raises(OSError, match="refused"):
        outside.connect(("127.0.0.2", port))


def test_the_page_may_ask_nobody_else_and_tells_nobody(address):
    _, headers, body = asked(address)
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert "http" not in headers["content-security-policy"]
    config = json.loads(asked(address, "/config")[2])
    assert config["analytics_enabled"] is False
    assert "fonts.g" not in body


def test_no_other_sites_page_can_send_it_anything(address, folder):
    boundary = {"Content-Type": "multipart/form-data; boundary=x"}
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="sent.wav"\r\n\r\nRIFF\r\n--x--\r\n'
    )
    found = []
    for origin in ("http://elsewhere.example", "null", "http://127.0.0.1:1", address):
        headers = boundary | {"Origin": origin}
        found.append(asked(address, "/gradio_api/upload", body, **headers)[0])
    assert found == [403, 403, 403, 200]


@pytest.mark.parametrize("path", ["/etc/hostname", "pyproject.toml", "../pyproject.toml"])
def test_no_other_file_is_given_away(address, path):
    assert asked(address, f"/gradio_api/file={path}")[0] in (403, 404)


def test_a_port_that_is_taken_is_said_and_nothing_is_left_behind(models, address, port, folder):
    from perser.demo.serving import serving

    environment, files = dict(os.environ), set(folder.iterdir())
    with pytest.raises(UserError, match=f"port: {port} is not free"), serving(models, Limits(), port):
        pass
    assert dict(os.environ) == environment
    assert set(folder.iterdir()) == files


@pytest.mark.parametrize("port", [-1, 65_536])
def test_what_is_no_port_is_said(port, models):
    from perser.demo.serving import serving

    with pytest.raises(UserError, match=f"port: {port}, give"), serving(models, Limits(), port):
        pass


def test_a_second_page_leaves_nothing_behind_either(models, address, tmp_path, monkeypatch):
    from perser.demo.serving import serving

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for _ in range(2):
        with serving(models, Limits(), port=0):
            assert len(list(tmp_path.iterdir())) == 1
        assert list(tmp_path.iterdir()) == []
