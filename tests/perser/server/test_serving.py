"""A running server: many persons in parallel, a kill while profiles are written, and a signal to stop."""

from __future__ import annotations

import signal
import socket
import threading
import time

import numpy as np
import pytest

from benchmarks.gpu.tiny_models import save_meta_perser
from benchmarks.speed.server import (
    CLOSE,
    People,
    answers_alone,
    kill_while_writing,
    name_of,
    running_server,
    under_load,
)
from perser.errors import UserError
from perser.server.serving import check_access, is_local, serve_until_stopped
from perser.web.limits import ServerLimits

PERSONS, CLIPS, REQUESTS, CONNECTIONS = 6, 2, 60, 12
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("server") / "meta-perser"
    save_meta_perser(folder)
    return str(folder)


def test_persons_in_parallel_get_their_own_answers_also_from_a_server_that_was_killed(model, tmp_path):
    """The first server is killed while it writes profiles. The second one is stopped by a signal, after which
    it still answers what has begun."""
    with running_server(model, tmp_path / "profiles") as (client, process):
        people = People(PERSONS, client.get("/model").json()["emotions"], CLIPS)
        for person in range(PERSONS):
            answer = client.put(f"/profiles/{name_of(person)}", **people.labeled(person))
            assert answer.status_code == 200
        alone = answers_alone(client, people)
        load = under_load(client, people, alone, CONNECTIONS, seconds=0, requests=REQUESTS)
        assert load.faults == []
        assert len(load.seconds) >= REQUESTS
        assert load.worst <= CLOSE
        kill_while_writing(client, people, process, seconds=0.5)
    with running_server(model, tmp_path / "profiles") as (client, process):
        again = answers_alone(client, people)
        assert all(np.allclose(again[key], alone[key], rtol=0, atol=CLOSE) for key in alone)
        assert statuses_after_sigterm(client, people, process) == [200] * 4
        assert process.wait(timeout=60) == 0
    assert {f"{name_of(number)}.profile" for number in range(100, 104)} <= {
        path.name for path in (tmp_path / "profiles").iterdir()
    }


def statuses_after_sigterm(client, people, process) -> list[int]:
    """Send four enrollments, the signal once they have begun, and return the statuses of their answers."""
    statuses = []

    def enroll(number: int) -> None:
        statuses.append(client.put(f"/profiles/{name_of(number)}", **people.labeled(0)).status_code)

    threads = [threading.Thread(target=enroll, args=(number,)) for number in range(100, 104)]
    for thread in threads:
        thread.start()
    while "perser_requests_busy 4.0" not in client.get("/metrics").text and not statuses:
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    return statuses


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost"])
def test_an_address_of_this_machine_needs_no_token(host):
    assert is_local(host)
    check_access(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.2", "::", "example.org", ""])
def test_any_other_address_needs_a_token(host):
    assert not is_local(host)
    check_access(host, TOKEN)
    with pytest.raises(UserError, match="token: none given, but others may reach"):
        check_access(host, None)


@pytest.mark.parametrize("token", ["", "short", "0123456789 abcdef", "0123456789abcdéf", "0123456789abcde\n"])
def test_a_token_that_is_weak_or_cannot_be_sent_is_refused(token):
    with pytest.raises(UserError, match=r"^token: "):
        check_access("127.0.0.1", token)


def test_a_port_in_use_is_refused(recognizer):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot use port {port} of 127.0.0.1"):
            serve_until_stopped(recognizer, "mine", ServerLimits(), port=port)
