"""perser prepare cremad --root DIR --out DIR: turn a corpus in its published layout into the tables that
everything else reads. perser prepare --check DIR: compare these with the recordings again."""

from __future__ import annotations

import inspect
import textwrap
from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from perser.cli.command import Command
from perser.corpora.huggingface_options import HuggingFaceDataset
from perser.corpora.listing import CorpusReader, Listing
from perser.errors import UserError, unknown
from perser.io.files import atomic_folder, check_output
from perser.io.folders import did_you_mean
from perser.io.terminal import counted

SHOWN = 3
"""How many reasons for leaving recordings out are printed, and how many recordings for each."""


def prepare(
    corpus: str,
    out: Path,
    root: Path | None = None,
    listeners: int | str | None = None,
    emotions: str | None = None,
    seed: int | None = None,
    dataset: HuggingFaceDataset = HuggingFaceDataset(),
    allow_skips: bool = False,
) -> None:
    """Read a corpus in its published layout, check every recording, and write a prepared corpus.

    Recordings that cannot be used are left out; the corpus card (corpus.json) lists them by name.

    Args:
        corpus: its name in `perser prepare --list`.
        out: the folder of the prepared corpus; an older one there is replaced.
        root: the folder that holds the published files; for manifest, the table (CSV, TSV
            or JSON).
        listeners: who labels. cremad: responses, intended, simulated:N (N realistic listeners),
            simulated-strong:N (N who differ far more than people do) or simulated:N:M (each labels M clips);
            dusha, emotale: responses or intended; simulated: how many.
        emotions: the emotion set of a manifest or a Hugging Face dataset, as in "angry;happy" or
            "angry,happy"; none: all
            words that occur.
        seed: seed of everything that is simulated; none: that of the experiment, or 0.
        dataset: the name of a Hugging Face dataset, and its columns.
        allow_skips: go on even if more than 5% of the recordings are bad.

    Examples:
        perser prepare simulated --out runs/mine/corpus
        perser prepare manifest --root data/mine/manifest.csv --out runs/own/corpus
    """
    # Imported here, so that `perser prepare --help` does not wait for torch and datasets.
    from perser.corpora.corpus import CARD, Corpus, fill_corpus

    reader, options = check_prepare(
        corpus, out, root, listeners=listeners, emotions=emotions, seed=seed, dataset=dataset
    )
    with atomic_folder(out, CARD) as folder:
        source = {"audio_out": folder / "audio"} if _makes_audio(reader) else {"root": root}
        listing = _read(reader, source, options)
        fill_corpus(listing, folder, allow_skips=allow_skips)
    _print_summary(out, Corpus.load(out).card)


def list_published(
    corpus: str, out: Path, root: Path | None, **options: int | str | HuggingFaceDataset | None
) -> Listing | None:
    """Return what the published files of a corpus say, without opening its audio; None where the recordings
    are yet to be made. Raises UserError as `prepare` does."""
    reader, chosen = check_prepare(corpus, out, root, **options)
    return None if _makes_audio(reader) else _read(reader, {"root": root}, chosen)


def _read(reader: CorpusReader, source: Mapping[str, Path | None], options: dict[str, Any]) -> Listing:
    try:
        return reader.read(**source, **options)
    except OSError as error:  # such as a folder or file without permission to read it
        place = error.filename or next(iter(source.values()))
        raise UserError(f"cannot read {place}: {error.strerror or error}") from error


def check_prepare(
    corpus: str, out: Path, root: Path | None, **options: int | str | HuggingFaceDataset | None
) -> tuple[CorpusReader, dict[str, Any]]:
    """Return the corpus's reader, and those of the `options` that are set; read nothing.

    Raises UserError for an unknown corpus, an option that it does not take, a root that is not there, or an
    output folder that cannot be written.
    """
    from perser.corpora.corpus import CARD

    reader = _reader(corpus)
    chosen = _set_options(corpus, reader, options)
    _check_places(corpus, reader, root, out)
    check_output(out, CARD)
    return reader, chosen


def list_corpora() -> None:
    """Describe every installed corpus: what it is, its license, who a person can be, and how to get it."""
    for name, entry in sorted(_readers().items()):
        print("\n".join([name, *_description(entry)]))


def check_prepared(out: Path) -> None:
    """Check that the recordings of a prepared corpus (`--check FOLDER`) are those that were prepared.

    Every file is read. Other commands compare sizes and modification times, and read a file where they
    differ.

    Args:
        out: the folder of the prepared corpus.
    """
    from perser.corpora.corpus import Corpus

    recordings = Corpus.load(out, check_files=False).recordings
    number = recordings.files.check_all()
    verb = "recording is" if number == 1 else "recordings are"
    print(f"{out}: all {number} {verb} what was prepared")


COMMAND = Command(prepare, switches={"list": list_corpora, "check": check_prepared})


def _description(entry: EntryPoint) -> list[str]:
    try:
        about = CorpusReader.of(entry.load()).about
    except Exception as error:  # another package may be broken; the other corpora are still listed
        return [f"    cannot be loaded: {type(error).__name__}: {error}"]
    if about is None:
        return ["    no description"]
    facts = {
        "what": about.what,
        "license": about.license,
        "person": " or ".join(about.axes),
        "source": about.source,
        "get it": about.how_to_get,
    }
    return [line for label, text in facts.items() for line in _labeled(label, text)]


def _labeled(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=100,
        initial_indent=f"    {label + ':':<9}",
        subsequent_indent=" " * 13,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _readers() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="perser.corpora")}


def _reader(corpus: str) -> CorpusReader:
    readers = _readers()
    if corpus not in readers:
        raise unknown("corpus", corpus, sorted(readers))
    return CorpusReader.of(readers[corpus].load())


def _makes_audio(reader: CorpusReader) -> bool:
    """Whether the reader writes recordings into the prepared corpus: it has `audio_out` instead of `root`."""
    return "audio_out" in inspect.signature(reader.read).parameters


def _set_options(corpus: str, reader: CorpusReader, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are set, each in the type of the reader's own default.

    Raises UserError for an option that this corpus does not take, or takes as a number only.
    """
    taken = inspect.signature(reader.read).parameters
    chosen = {name: value for name, value in options.items() if value not in (None, HuggingFaceDataset())}
    for name, value in chosen.items():
        if name not in taken:
            raise UserError(f"{corpus} takes no --{name}: leave it out")
        if isinstance(taken[name].default, int) and not isinstance(value, int):
            raise UserError(f"{corpus} takes a number as --{name}, not '{value}'")
    return {
        name: str(value) if isinstance(taken[name].default, str) else value for name, value in chosen.items()
    }


def _check_places(corpus: str, reader: CorpusReader, root: Path | None, out: Path) -> None:
    if _makes_audio(reader):
        if root is not None:
            raise UserError(f"{corpus} reads no files and takes no --root: leave it out")
    elif root is None:
        raise UserError(f"{corpus} needs --root: the folder that holds its published files")
    elif not root.exists():
        hint = did_you_mean(root)
        raise UserError(
            f"--root {root} does not exist{hint}: give the folder with the files of {corpus} "
            "(`perser prepare --list` says how to get them)"
        )
    elif root.resolve().is_relative_to(out.resolve()):
        raise UserError(f"--root {root} is in --out {out}, which would be replaced: give another --out")


def _print_summary(out: Path, card: dict[str, Any]) -> None:
    counts = card["counts"]
    print(
        f"{out}: {card['name']}, {counted(counts['utterances'], 'utterance')} ({card['hours']:.2f} hours) "
        f"of {counted(counts['speakers'], 'speaker')}, {counted(counts['annotations'], 'annotation')} "
        f"by {counted(counts['listeners'], 'listener')}"
    )
    print(f"  emotions: {', '.join(card['emotions'])}")
    for note in card["notes"]:
        print(f"  note: {note}")
    for kind, count in card["dropped"].items():
        print(f"  dropped: {count} {kind}")
    by_reason: dict[str, list[str]] = defaultdict(list)
    for recording, reason in card["left_out"]:
        by_reason[reason].append(recording)
    if by_reason:
        print(f"  left out: {counts['left_out']} (all named in {out / 'corpus.json'})")
    for reason, recordings in sorted(by_reason.items(), key=lambda item: -len(item[1]))[:SHOWN]:
        more = ", ..." if len(recordings) > SHOWN else ""
        print(f"    {len(recordings)} {reason}: {', '.join(recordings[:SHOWN])}{more}")
