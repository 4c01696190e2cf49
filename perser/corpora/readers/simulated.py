"""perser prepare simulated --out corpora/simulated

A fully simulated corpus, to try everything in minutes without a download. eSpeak NG speaks, and simulated
listeners label what is in the audio: strong ones, who differ far more than people do. Results on it show that
the code works, not how well a method works on people. The same seed gives the same corpus, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from perser.audio import SAMPLE_RATE
from perser.corpora.espeak import Delivery, Espeak
from perser.corpora.listeners.kinds import QUICKSTART
from perser.corpora.listeners.learnable import describe
from perser.corpora.listeners.listener import annotate
from perser.corpora.listeners.truth import ListenerTruth
from perser.corpora.listing import About, Annotation, CorpusReader, Listing, Utterance
from perser.corpora.simulated_speakers import PROTOTYPES, draw_expressions, draw_speaker, vote_shares
from perser.errors import UserError
from perser.labels import EmotionSet
from perser.progress import progress_bar

EMOTIONS = EmotionSet(tuple(PROTOTYPES))

SENTENCES = (
    "The bus stops here.",
    "She opened the window.",
    "It is nearly eleven.",
    "The keys are outside.",
    "He works on Monday.",
    "My coat is green.",
    "They painted the door.",
    "The shop sells paper.",
    "We live near here.",
    "The letter came today.",
    "His brother plays chess.",
    "The water is cold.",
    "I left it there.",
    "The road goes north.",
    "She bought some bread.",
    "The train was full.",
)
"""Short and without an emotion of their own."""

ABOUT = About(
    what="simulated English, 40 eSpeak NG voices, 6 emotions; 128 strong simulated listeners, who differ far "
    "more than people do: to try everything, not to measure how well a method hears people",
    source="simulated by perser: eSpeak NG speech",
    license="free to use: generated, no one's recording or answer is in it",
    axes=("listener", "speaker"),
    how_to_get="nothing to get: pip install 'perser[quickstart]' speaks it",
)


@dataclass(frozen=True)
class Clip:
    """An utterance, how it is to be spoken, and the votes (num_emotions,) that this delivery gets."""

    utterance: Utterance
    delivery: Delivery
    votes: np.ndarray


def make_simulated(
    audio_out: Path,
    speakers: int = 40,
    sentences: int = 10,
    listeners: int = 128,
    clips_per_listener: int = 1200,
    seed: int = 0,
) -> Listing:
    """Simulate speech with eSpeak NG, and listeners who label it: no download.

    Every speaker says every sentence once in every emotion. Adding speakers, sentences or listeners does not
    change the clips of the first speakers or the styles of the first listeners.

    Args:
        audio_out: Folder to write the clips to (16 kHz, mono, 16-bit wav).
        speakers: How many speakers, each with a voice and their own ways to express emotions.
        sentences: How many sentences, 16 at most.
        listeners: How many listeners, each with their own bias, sharpness and breadth.
        clips_per_listener: How many clips each listener labels, spread evenly over the speakers; all clips if
            there are fewer.
        seed: The same seed gives the same corpus, bit for bit.
    """
    _check(speakers, sentences, listeners, clips_per_listener)
    speaker_rng, style_rng, label_rng = np.random.default_rng(seed).spawn(3)
    clips = draw_clips(speakers, sentences, speaker_rng)
    _say(clips, audio_out)
    annotations: list[Annotation] = []
    shares = np.stack([clip.votes for clip in clips])
    drawn = QUICKSTART.listeners(listeners, EMOTIONS, shares, style_rng)
    for listener, rng in zip(drawn, label_rng.spawn(listeners), strict=True):
        heard = [clips[index] for index in draw_share(len(clips), speakers, clips_per_listener, rng)]
        labels = annotate(listener, np.stack([clip.votes for clip in heard]), rng)
        annotations += [
            Annotation(clip.utterance.utterance_id, listener.name, EMOTIONS.words(row))
            for clip, row in zip(heard, labels, strict=True)
        ]
    return Listing(
        name=f"simulated-{QUICKSTART.name}",
        emotions=EMOTIONS.names,
        audio_root=audio_out,
        utterances=[clip.utterance for clip in clips],
        annotations=annotations,
        source=f"{ABOUT.source}, seed {seed}",
        license=ABOUT.license,
        namespace=f"simulated, seed {seed}",
        simulated=True,
        truth=ListenerTruth(
            QUICKSTART.name,
            {listener.name: listener for listener in drawn},
            {clip.utterance.utterance_id: clip.votes for clip in clips},
        ),
        notes=[
            f"The speech is simulated: {speakers} eSpeak NG voices. They express an emotion by how high, how "
            "lively, how fast and how loud they speak.",
            f"The listeners are simulated, too: {listeners} {QUICKSTART.name} ones label the clips by how "
            "they are spoken.",
            *describe(QUICKSTART, drawn, EMOTIONS, shares),
        ],
    )


def _say(clips: Sequence[Clip], audio_out: Path) -> None:
    """Write every clip as speech."""
    with Espeak() as espeak, progress_bar(len(clips), "Simulating speech", unit="clip") as progress:
        for clip in clips:
            path = audio_out / clip.utterance.audio
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, espeak.say(clip.utterance.text, clip.delivery), SAMPLE_RATE, "PCM_16")
            progress.update()


def draw_clips(speakers: int, sentences: int, rng: np.random.Generator) -> list[Clip]:
    """Draw the clips: every speaker, every sentence, every emotion, nested in this order."""
    clips: list[Clip] = []
    for index, child in enumerate(rng.spawn(speakers)):
        speaker = draw_speaker(index, child)
        expressions = draw_expressions(speaker, sentences, child)
        deliveries = [
            speaker.deliver(expression) for expression in expressions.reshape(-1, expressions.shape[-1])
        ]
        votes = vote_shares(np.stack([speaker.expressed(delivery) for delivery in deliveries]))
        names = _utterances(speaker.name, speaker.session, sentences)
        clips += [Clip(*clip) for clip in zip(names, deliveries, votes, strict=True)]
    return clips


def draw_share(num_clips: int, speakers: int, share: int, rng: np.random.Generator) -> np.ndarray:
    """Draw which clips a listener hears: at most `share` indices, sorted.

    Each speaker has the same number of them, or one more. The `num_clips` clips are ordered by speaker.
    """
    clips = rng.permuted(np.arange(num_clips).reshape(speakers, -1), axis=1)
    rounds = rng.permuted(clips, axis=0).T  # so that the speakers of the last, incomplete round are random
    return np.sort(rounds.reshape(-1)[:share])


def _utterances(speaker: str, session: str, sentences: int) -> Iterator[Utterance]:
    for number, text in enumerate(SENTENCES[:sentences]):
        for emotion in EMOTIONS.names:
            name = f"{speaker}_{number:02d}_{emotion}"
            yield Utterance(name, f"{speaker}/{name}.wav", speaker, session, text)


def _check(speakers: int, sentences: int, listeners: int, clips_per_listener: int) -> None:
    if min(speakers, sentences, listeners, clips_per_listener) < 1:
        raise UserError("a simulated corpus needs at least one speaker, sentence, listener and clip each")
    if sentences > len(SENTENCES):
        raise UserError(f"a simulated corpus has {len(SENTENCES)} sentences at most, not {sentences}")


SIMULATED = CorpusReader(make_simulated, ABOUT)
