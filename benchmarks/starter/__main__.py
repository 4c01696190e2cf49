"""python -m benchmarks.starter --cremad DIR --emogator DIR: train, measure and pack the starter models.

Everything is made, packed and measured in OUT, and at the end copied into the folder `perser/starter`, which
is part of the package. A run that was stopped goes on: what is finished is not made again.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.starter.pack import pack, publish, write_record
from benchmarks.starter.recipe import Sources, measure, train
from perser.cli.main import run_command
from perser.errors import UserError
from perser.io.files import check_outputs
from perser.starter import ENCODER, VARIABLE

PACKAGE = Path(__file__).parents[2] / "perser" / "starter"


def starter(
    cremad: Path,
    emogator: Path,
    out: Path = Path("runs/starter"),
    into: Path = PACKAGE,
    cache: Path = Path("runs/cache"),
    encoder: str = ENCODER,
    others: list[Path] | None = None,
) -> None:
    """Train the starter models on CREMA-D and EmoGator, measure them, and pack them with their cards.

    Args:
        cremad: CREMA-D in its published layout.
        emogator: EmoGator as a folder with manifest.csv (path, speaker, listener, emotions).
        out: folder of everything that is made.
        into: folder in which the packed models are written.
        cache: folder of the feature cache.
        encoder: the encoder, by its Hub name, or a folder with it.
        others: prepared corpora that the models are measured on, too; none of them is trained on.
    """
    check_outputs(folders={"out": out, "into": into, "cache": cache})
    for name, folder in (("cremad", cremad), ("emogator", emogator)):
        if not folder.is_dir():
            raise UserError(f"{name}: there is no folder {folder}: give the corpus in its published layout")
    if not (emogator / "manifest.csv").is_file():
        raise UserError(f"emogator: {emogator} has no manifest.csv: give the folder that has it")
    sources = Sources(cremad, emogator, out, cache, encoder)
    if Path(encoder).is_dir():
        os.environ[VARIABLE] = str(encoder)  # the packed models name the encoder as on the Hub
    train(sources)
    packed = out / "packed"
    pack(sources.models, packed)
    write_record(packed, measure(sources, packed, others or []))
    publish(packed, into)


if __name__ == "__main__":
    run_command(starter)
