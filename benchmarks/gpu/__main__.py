"""python -m benchmarks.gpu [--quick] [--out DIR]

Check what works on this machine's GPU, whether it computes what the CPU does, and how fast it is.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.plain_copy import environment_of_parts, use


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts, or one; return the exit status: 1 if a check failed, else 0.

    Options are read by argparse, because a bare machine may lack jsonargparse.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Check what works on a GPU, whether it equals the CPU, and how fast it is. "
        "Without a GPU, whatever needs none is checked on the CPU.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer shapes and rounds")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/gpu"), help="folder for gpu.json, gpu.md and the parts' logs"
    )
    parser.add_argument("--parts", nargs="+", metavar="PART", help="run these parts alone")
    parser.add_argument("--part", help="run this part alone, in this process (for the command itself)")
    options = parser.parse_args(arguments)
    out = options.out.resolve()
    if problem := _unwritable(out):
        parser.error(problem)
    environment = environment_of_parts(out / "packages") if options.part is None else dict(os.environ)
    if options.part is None:
        use(environment)
    import torch  # may come from a folder that `use` has just added, as may what follows

    from benchmarks.gpu.findings import Settings
    from benchmarks.gpu.parts import PARTS, RESULTS, run_part, run_parts
    from benchmarks.gpu.table import print_finding, print_results, write_page

    if unknown := sorted(set(options.parts or ()) - set(PARTS)):
        parser.error(f"--parts: no part is called {unknown[0]}; the parts are {', '.join(PARTS)}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = Settings(device, options.quick or device == "cpu", out)
    if options.part is not None:
        run_part(options.part, settings)
        return 0
    if device == "cpu":  # more threads than cores that are free would make tiny models several times slower
        environment.setdefault("OMP_NUM_THREADS", "1")
    parts = {name: part for name, part in PARTS.items() if name in (options.parts or PARTS)}
    findings = run_parts(settings, print_finding, parts, environment)
    print_results(out / RESULTS)
    write_page(out / RESULTS, out / "gpu.md")
    return int(any(finding.status == "failed" for finding in findings))


def _unwritable(out: Path) -> str | None:
    """Return why no folder `out` can be written, None where it can. Nothing is left on the disk.

    It needs no package, unlike `perser.io.files.check_outputs`: packages may be unpacked into that folder.
    """
    try:
        there = next(path for path in (out, *out.parents) if path.exists())
        Path(tempfile.mkdtemp(prefix=".perser-", dir=there)).rmdir()
    except OSError as error:
        return f"--out: cannot write {out} ({error.strerror}): give another folder"
    return None


if __name__ == "__main__":
    sys.exit(main())
