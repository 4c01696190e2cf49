from __future__ import annotations

import json
import os
import socket
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from perser.errors import UserError
from perser.web.limits import Limits


@pytest.fixture
def port(address) -> int:
    return int(address.rpartition(":")[2])


def request(address, path="/", data=None, **headers):
    """Return the status, headers and body of a response."""
    try:
        with build_opener(ProxyHandler({})).open(Request(address + path, data, headers)) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except HTTPError as error:
        return error.code, error.headers, error.read().decode()


def test_only_this_machine_and_its_names_are_served(address, port):
    assert address.startswith("http://127.0.0.1:")
    assert request(address)[0] == 200
    assert request(address, Host=f"localhost:{port}")[0] == 200
    assert request(address, Host="elsewhere.example")[0] == 400
    with socket.socket() as outside, pytest.raises(OSError, match="refused"):
        outside.connect(("127.0.0.2", port))


def test_the_page_sends_requests_to_no_other_server(address):
    _, headers, body = request(address)
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert "http" not in headers["content-security-policy"]
    config = json.loads(request(address, "/config")[2])
    assert config["analytics_enabled"] is False
    assert "fonts.g" not in body


def test_requests_of_pages_of_other_sites_are_refused(address, folder):
    boundary = {"Content-Type": "multipart/form-data; boundary=x"}
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="sent.wav"\r\n\r\nRIFF\r\n--x--\r\n'
    )
    statuses = []
    for origin in ("http://elsewhere.example", "null", "http://127.0.0.1:1", address):
        headers = boundary | {"Origin": origin}
        statuses.append(request(address, "/gradio_api/upload", body, **headers)[0])
    assert statuses == [403, 403, 403, 200]


@pytest.mark.parametrize("path", ["/etc/hostname", "pyproject.toml", "../pyproject.toml"])
def test_other_files_are_not_served(address, path):
    assert request(address, f"/gradio_api/file={path}")[0] in (403, 404)


def test_a_port_in_use_is_refused_and_nothing_is_left_behind(models, address, port, folder):
    from perser.demo.serving import serving

    environment, files = dict(os.environ), set(folder.iterdir())
    with pytest.raises(UserError, match=f"port: {port} is not free"), serving(models, Limits(), port):
        pass
    assert dict(os.environ) == environment
    assert set(folder.iterdir()) == files


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_number_that_is_no_port_is_refused(port, models):
    from perser.demo.serving import serving

    with pytest.raises(UserError, match=f"port: {port}, give"), serving(models, Limits(), port):
        pass


def test_a_second_page_leaves_nothing_behind(models, address, tmp_path, monkeypatch):
    from perser.demo.serving import serving

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for _ in range(2):
        with serving(models, Limits(), port=0):
            assert len(list(tmp_path.iterdir())) == 1
        assert list(tmp_path.iterdir()) == []
