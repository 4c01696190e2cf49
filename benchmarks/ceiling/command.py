"""perser ceiling --corpus DIR [--out DIR] [--json FILE]: how far listeners agree, and what can be learned."""

from __future__ import annotations

from pathlib import Path

from perser.cli.main import run_command

CEILING = "ceiling.json"


def ceiling(corpus: Path, out: Path | None = None, json: Path | None = None) -> None:
    """Measure from annotations alone how far listeners agree, and how much can be learned of each of them.

    No audio is heard and nothing is trained. It prints a few sentences and the main figures.

    Args:
        corpus: a prepared corpus.
        out: folder for ceiling.html, ceiling.md, ceiling.json and ceiling.png.
        json: file for the figures alone.

    Examples:
        perser ceiling --corpus runs/mine/corpus --out runs/mine/ceiling
    """
    from benchmarks.ceiling.measure import measure_corpus
    from benchmarks.ceiling.pages import print_summary, write_pages
    from perser.corpora.corpus import Corpus
    from perser.io.files import check_outputs
    from perser.io.json_files import write_json

    check_outputs(files={"json": json}, folders={"out": out})
    content = measure_corpus(Corpus.load(corpus))
    if out is not None:
        write_pages(content, out)
        write_json(out / CEILING, content)
    if json is not None:
        write_json(json, content)
    print_summary(content)
    for written in filter(None, (out, json)):
        print(f"  {written}")


if __name__ == "__main__":
    run_command(ceiling)
