"""python -m benchmarks.speed.server --model DIR [--persons 50] [--connections 64] [--seconds 60]

Measure `perser serve` under load, on this machine: how many requests it answers, how long they take, whether
its memory stays flat, whether every answer is the one that the same request gets alone, and whether the
profiles are intact after the server was killed while it wrote them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock
from typing import Any

import numpy as np
import soundfile

from perser.audio import SAMPLE_RATE
from perser.cli.main import run_command
from perser.errors import UserError, require_package
from perser.io.files import check_outputs
from perser.io.json_files import write_json

CLOSE = 1e-6
"""How far an answer may be from the one alone."""

CLIPS = 8
"""How many clips are asked about."""

EXAMPLES = 4
"""How many clips each person enrolls."""

WITH_EXAMPLES = 10
"""Every request of this many sends the examples themselves in place of the profile's name."""

KILL_SECONDS = 2
"""How long profiles are written before the server is killed."""

LONGEST_START_SECONDS = 120

SAMPLED_SECONDS = 1

_ADDRESS = re.compile(r"(http://\S+) answers")
_MEMORY = re.compile(r"^process_resident_memory_bytes (\S+)", re.MULTILINE)

Answers = dict[tuple[int, int], np.ndarray]
"""The probabilities (2, num_emotions), with and without the profile, by person and clip."""


@dataclass
class Load:
    """What was measured while many asked at once.

    Args:
        seconds: How long each request took.
        worst: The largest difference of a probability from the one alone.
        memory: The server's memory in bytes, second by second.
        faults: Answers that are no answers.
    """

    seconds: list[float] = field(default_factory=list)
    worst: float = 0.0
    memory: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class People:
    """Persons with clips of noise that they labeled, and clips to ask about.

    Args:
        count: How many persons.
        emotions: The model's emotions.
        clips: How many clips are asked about.
    """

    def __init__(self, count: int, emotions: Sequence[str], clips: int = CLIPS) -> None:
        self.count = count
        self.clips = [_noise(number) for number in range(clips)]
        self.examples = []
        for person in range(count):
            rng = np.random.default_rng(person)
            words = [str(word) for word in rng.choice(emotions, EXAMPLES)]
            self.examples.append([(_noise(1000 + EXAMPLES * person + i), w) for i, w in enumerate(words)])

    def labeled(self, person: int) -> dict[str, Any]:
        """Return a person's examples as a request sends them."""
        files = [("examples", ("example.wav", clip)) for clip, _ in self.examples[person]]
        return {"files": files, "data": {"emotions": [word for _, word in self.examples[person]]}}

    def question(self, person: int, clip: int, with_examples: bool = False) -> dict[str, Any]:
        """Return a request about a clip, by a person's profile or by the examples themselves."""
        asked = ("clip", ("clip.wav", self.clips[clip]))
        if not with_examples:
            return {"files": [asked], "data": {"profile": name_of(person)}}
        labeled = self.labeled(person)
        return labeled | {"files": [asked, *labeled["files"]]}


def speed_server(
    model: str = "runs/quickstart/models/speech-lm",
    persons: int = 50,
    connections: int = 64,
    seconds: float = 60,
    requests: int = 0,
    json: Path | None = None,
) -> None:
    """Measure `perser serve` under load, and check its answers and its profiles. Exits with 1 where one is
    wrong.

    Args:
        model: a trained model of either route.
        persons: how many persons have profiles.
        connections: how many ask at the same time.
        seconds: how long they ask.
        requests: how many requests there are at least, also where they take longer.
        json: a file for every figure; none: print them only.
    """
    require_package("httpx", "test", "this measurement")
    check_outputs(files={"json": json})
    if min(persons, connections) < 1:
        raise UserError("persons and connections: give at least 1 of each")
    with TemporaryDirectory(prefix="perser-server-") as folder:
        profiles = Path(folder) / "profiles"
        with running_server(model, profiles, connections) as (client, process):
            people = People(persons, client.get("/model").json()["emotions"])
            for person in range(persons):
                _checked(client.put(f"/profiles/{name_of(person)}", **people.labeled(person)))
            alone = answers_alone(client, people)
            print(f"{len(alone)} answers alone, now {connections} connections", flush=True)
            load = under_load(client, people, alone, connections, seconds, requests)
            kill_while_writing(client, people, process)
        with running_server(model, profiles, connections) as (client, _):
            again = answers_alone(client, people)
    changed = sum(not np.allclose(again[key], alone[key], rtol=0, atol=CLOSE) for key in alone)
    figures = _figures(load, alone, changed)
    for name, value in figures.items():
        print(f"{name}: {value}")
    if json is not None:
        measured = {"seconds": load.seconds, "memory": load.memory, "faults": load.faults}
        write_json(json, {**figures, **measured})
    if load.faults or load.worst > CLOSE or changed:
        raise SystemExit(1)


def name_of(person: int) -> str:
    """Return the name of a person's profile."""
    return f"person-{person}"


@contextmanager
def running_server(
    model: str, profiles: Path, connections: int = 64
) -> Iterator[tuple[Any, subprocess.Popen[str]]]:
    """Start `perser serve` on a free port; yield a client of it (httpx.Client), and its process."""
    import httpx

    words = ["serve", f"--model={model}", f"--profiles={profiles}", "--port=0"]
    words += [f"--limits.waiting={2 * connections}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "perser.cli", *words], stdout=subprocess.PIPE, encoding="utf-8"
    )
    try:
        address = _ADDRESS.search(process.stdout.readline() if process.stdout is not None else "")
        if address is None:
            raise UserError("the server did not start: its message says why")
        limits = httpx.Limits(max_connections=connections + 1, max_keepalive_connections=connections + 1)
        with httpx.Client(
            base_url=address[1], limits=limits, timeout=LONGEST_START_SECONDS, trust_env=False
        ) as client:
            yield client, process
    finally:
        process.terminate()
        process.wait()


def answers_alone(client: Any, people: People) -> Answers:
    """Return the answers for every person and clip, asked one after the other."""
    return {
        (person, clip): _probabilities(_checked(client.post("/predict", **people.question(person, clip))))
        for person in range(people.count)
        for clip in range(len(people.clips))
    }


def under_load(
    client: Any, people: People, alone: Answers, connections: int, seconds: float, requests: int
) -> Load:
    """Ask about random persons and clips over many connections, and compare with the answers alone."""
    load, lock, stopped = Load(), Lock(), Event()
    end = time.perf_counter() + seconds

    def ask(connection: int) -> None:
        rng = np.random.default_rng((7, connection))
        while time.perf_counter() < end or len(load.seconds) < requests:
            person, clip = int(rng.integers(people.count)), int(rng.integers(len(people.clips)))
            question = people.question(person, clip, with_examples=rng.integers(WITH_EXAMPLES) == 0)
            started = time.perf_counter()
            try:
                found = _probabilities(_checked(client.post("/predict", **question)))
            except Exception as error:
                with lock:
                    load.faults.append(f"{type(error).__name__}: {error}")
                return
            taken = time.perf_counter() - started
            with lock:
                load.seconds.append(taken)
                load.worst = max(load.worst, float(np.abs(found - alone[person, clip]).max()))

    def watch() -> None:
        while not stopped.wait(SAMPLED_SECONDS):
            try:
                found = _MEMORY.search(client.get("/metrics").text)
            except Exception as error:
                load.faults.append(f"{type(error).__name__}: {error}")
                return
            if found is not None:
                load.memory.append(float(found[1]))

    with ThreadPoolExecutor(connections + 1) as pool:
        watching = pool.submit(watch)
        asking = [pool.submit(ask, connection) for connection in range(connections)]
        for each in asking:
            each.result()
        stopped.set()
        watching.result()
    return load


def kill_while_writing(
    client: Any, people: People, process: subprocess.Popen[str], seconds: float = KILL_SECONDS
) -> None:
    """Replace profiles by the same ones, over several connections, and kill the server meanwhile."""

    def write(first: int) -> None:
        for person in range(first, 10**9):
            try:
                place = person % people.count
                client.put(f"/profiles/{name_of(place)}", **people.labeled(place))
            except Exception:  # the server is gone
                return

    with ThreadPoolExecutor(4) as pool:
        for first in range(4):
            pool.submit(write, first * 11)
        time.sleep(seconds)
        process.kill()


def _figures(load: Load, alone: Answers, changed: int) -> Mapping[str, Any]:
    ordered = np.sort(load.seconds) if load.seconds else np.zeros(1)
    p50, p99 = np.quantile(ordered, [0.5, 0.99])
    apart = [
        np.abs(alone[first, clip][0] - alone[second, clip][0]).max()
        for clip in sorted({clip for _, clip in alone})
        for first, second in combinations(sorted({person for person, _ in alone}), 2)
    ]
    fifth = max(1, len(load.memory) // 5)
    ends = [part for part in (load.memory[:fifth], load.memory[-fifth:]) if part]
    return {
        "answers": len(load.seconds),
        "failed requests": len(load.faults),
        "largest difference from the answer alone": load.worst,
        "smallest difference between two persons": float(min(apart, default=0.0)),
        "median seconds": round(float(p50), 3),
        "p99 seconds": round(float(p99), 3),
        "longest seconds": round(float(ordered[-1]), 3),
        "MB of memory, first and last fifth": [round(float(np.median(part)) / 2**20) for part in ends],
        "answers that changed after the server was killed": changed,
    }


def _checked(response: Any) -> Mapping[str, Any]:
    """Return an answer's JSON. Raises UserError for a refusal."""
    if response.status_code != 200:
        raise UserError(f"the server refused a request with {response.status_code}: {response.text}")
    return response.json()


def _probabilities(answer: Mapping[str, Any]) -> np.ndarray:
    own, plain = answer["probabilities"], answer["unadapted"]["probabilities"]
    return np.array([[*own.values()], [*plain.values()]])


def _noise(seed: int) -> bytes:
    """Return the content of a recording of noise, half a second to one second long."""
    rng = np.random.default_rng(seed)
    content = BytesIO()
    samples = 0.1 * rng.standard_normal(int(rng.uniform(0.5, 1) * SAMPLE_RATE))
    soundfile.write(content, samples, SAMPLE_RATE, format="WAV")
    return content.getvalue()


if __name__ == "__main__":
    run_command(speed_server)
