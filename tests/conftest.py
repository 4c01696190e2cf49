"""Fixtures that several test files share, and the number of threads and processes of the tests."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the Hub

import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub import CommitOperationAdd, HfApi, RepoUrl, constants
from hypothesis import settings

from benchmarks.speed.second_query import BROWSERS, find_browser
from perser.corpora.corpus import Corpus, write_corpus
from perser.corpora.listeners.kinds import QUICKSTART
from perser.corpora.listeners.listener import annotate
from perser.corpora.listeners.truth import ListenerTruth
from perser.corpora.listing import Annotation, Listing, Utterance
from perser.episodes.draw import draw_episodes
from perser.episodes.episode_file import EpisodeFile
from perser.episodes.splits import SplitOptions
from perser.io import hub
from perser.labels import EmotionSet

settings.register_profile("perser", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("perser")

NEEDLESS = {"bitsandbytes", "datasets", "evaluate", "gradio", "matplotlib", "pandas", "peft", "sklearn"}
"""Packages that take long to import and that an answer about a clip does not need."""
LONGEST = {"test_notebooks.py", "test_two_processes.py", "test_experiment.py", "test_iemocap_configs.py"}
EMOTIONS = ("angry", "happy", "neutral", "sad")
PITCH = dict(zip(EMOTIONS, (440.0, 330.0, 220.0, 150.0), strict=True))


def pytest_configure() -> None:
    """Forget what the terminal is like, so that the same is printed everywhere.

    Ctrl-C counts in the tests, although a shell lets a job in the background ignore it.
    """
    for name in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES"):
        os.environ.pop(name, None)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite in two processes, each test file in one of them, unless `-n` says otherwise."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS or "PYTEST_XDIST_WORKER" in os.environ:
        return
    option = config.option
    if config.pluginmanager.hasplugin("xdist") and option.numprocesses is None and not option.usepdb:
        option.numprocesses, option.dist, option.loadscopereorder = 2, "loadfile", False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests take longest, so that no process has one left at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def autograd_before_any_export() -> None:
    """Let autograd start before any test, so that processes that tests fork can train.

    Autograd starts a thread for each GPU when it first runs. torch.export and torch.compile add a GPU that
    does not exist. Had they run first, autograd would have a thread for it, and torch forbids to train in a
    fork of a process with such threads.
    """
    torch.ones((), requires_grad=True).backward()


@pytest.fixture(scope="session")
def toy_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Eight speakers, four emotions by pitch, 128 clips of 0.3-0.4 s, twelve simulated listeners."""
    folder = tmp_path_factory.mktemp("toy")
    audio = folder / "audio"
    audio.mkdir()
    rng = np.random.default_rng(0)
    utterances, votes = [], []
    for speaker in range(8):
        for number in range(4):
            for index, emotion in enumerate(EMOTIONS):
                name = f"s{speaker}-{emotion}-{number}"
                seconds = rng.uniform(0.3, 0.4)
                time = np.arange(int(16_000 * seconds)) / 16_000
                pitch = PITCH[emotion] * (1 + 0.05 * (speaker - 4) / 4) * rng.uniform(0.97, 1.03)
                tone = sum(np.sin(2 * np.pi * pitch * h * time) / h for h in (1, 2, 3))
                noise = 0.05 * rng.standard_normal(len(time))
                soundfile.write(audio / f"{name}.wav", 0.2 * tone + noise, 16_000)
                session = str(speaker // 2 + 1)
                utterances.append(Utterance(name, f"{name}.wav", f"speaker-{speaker}", session))
                votes.append(np.where(np.arange(4) == index, 0.7, 0.1))
    annotations = []
    shares = np.array(votes)
    drawn = QUICKSTART.listeners(12, EmotionSet(EMOTIONS), shares, np.random.default_rng(1))
    for listener in drawn:
        answers = annotate(listener, shares, np.random.default_rng(2))
        for utterance, row in zip(utterances, answers, strict=True):
            emotions = tuple(emotion for emotion, is_on in zip(EMOTIONS, row, strict=True) if is_on)
            annotations.append(Annotation(utterance.utterance_id, listener.name, emotions))
    listing = Listing(
        name="toy",
        emotions=EMOTIONS,
        audio_root=audio,
        utterances=utterances,
        annotations=annotations,
        source="made by the tests",
        license="none",
        simulated=True,
        truth=ListenerTruth(
            QUICKSTART.name,
            {listener.name: listener for listener in drawn},
            {row.utterance_id: share for row, share in zip(utterances, shares, strict=True)},
        ),
    )
    return write_corpus(listing, folder / "corpus")


@pytest.fixture(scope="session")
def toy_split() -> SplitOptions:
    return SplitOptions(folds=4, validation_persons=2, validation_groups=2)


@pytest.fixture(scope="session")
def toy_episodes(toy_corpus: Corpus, toy_split: SplitOptions) -> EpisodeFile:
    """Episodes of unseen listeners on unseen speakers: K = 8, Q = 16, two episodes a listener."""
    return draw_episodes(toy_corpus, toy_split, k=8, q=16, seeds=2)


@pytest.fixture(scope="session")
def toy_episodes_path(toy_episodes: EpisodeFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("episodes") / "episodes.json"
    toy_episodes.save(path)
    return path


@pytest.fixture
def hub_folder(monkeypatch, tmp_path) -> Path:
    """A folder in place of the Hub: uploads are written to it, and downloads are read from it."""
    folder = tmp_path / "hub"

    def create_commit(self, repo_id, operations, **options):
        for operation in operations:
            assert isinstance(operation, CommitOperationAdd)
            target = folder / repo_id / operation.path_in_repo
            target.parent.mkdir(parents=True, exist_ok=True)
            with operation.as_file() as stream:
                target.write_bytes(stream.read())

    def create_repo(self, repo_id, **options):
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **options: folder / name)
    return folder


@pytest.fixture
def downloaded(monkeypatch, tmp_path) -> Callable[[str, Path], None]:
    """A function that puts a folder into the Hub's local cache under a name, as a download would."""
    cache = tmp_path / "hub-cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))

    def download(name: str, folder: Path) -> None:
        repository = cache / f"models--{name.replace('/', '--')}"
        shutil.copytree(folder, repository / "snapshots" / "0123abcd")
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0123abcd")

    return download


@pytest.fixture
def write_example_clips() -> Callable[[], None]:
    """A function that writes the recordings of a model card's examples into the working folder."""

    def write() -> None:
        for seed, name in enumerate(("a.wav", "b.wav", "clip.wav")):
            soundfile.write(name, 0.1 * np.random.default_rng(seed).standard_normal(6000), 16_000)

    return write


@pytest.fixture
def run_card() -> Callable[[Path], list[dict]]:
    """A function that runs each Python example of a model card and returns the variables of each."""

    def run(card: Path) -> list[dict]:
        variables = []
        for code in re.findall(r"^```python\n(.*?)^```$", card.read_text(), re.MULTILINE | re.DOTALL):
            variables.append({})
            exec(compile(code, str(card), "exec"), variables[-1])
        return variables

    return run


@pytest.fixture
def needless_imports() -> Callable[[Path, Path], set[str]]:
    """A function that returns which needless packages an answer of a model about a clip imports."""

    def imported(model: Path, clip: Path) -> set[str]:
        words = ["predict", "--model", str(model), "--json", "--enroll", f"{clip}=sad", "--", str(clip)]
        code = f"import sys; from perser.cli.main import main; main({words}); print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return NEEDLESS & set(done.stdout.splitlines()[-1].split())

    return imported


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of screenshots: the one that PERSER_SCREENSHOTS names, or else one of pytest's own."""
    folder = Path(os.environ.get("PERSER_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A real browser without a window (playwright's `Browser`). Its microphone plays a beep."""
    from playwright.sync_api import Error, sync_playwright

    program = find_browser()
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)}")
    beep = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", *beep]
        try:
            launched = driver.chromium.launch(executable_path=program, args=flags)
        except Error as error:  # some systems have a program of that name that only says how to install it
            pytest.skip(f"{program} does not start: {str(error).splitlines()[0]}")
        yield launched
        launched.close()
