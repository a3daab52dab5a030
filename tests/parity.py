"""Parity with the original NExT-GPT: ``python tests/parity.py --golden DIR``.

Runs every case found in a folder of golden data and prints one line for each: verdict, name, largest absolute error,
largest relative error (the absolute one over the largest expected magnitude), and what there is to say. Exit status:
0 all cases within their tolerance or skipped, 1 a case failed, 2 the folder is unusable. Skipped are cases whose media
file is not there, and text states of a CLAP encoder that were made with its dropout on (see parity_cases/diffusion.py).
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

for _folder in (Path(__file__).resolve().parents[1], Path(__file__).resolve().parent):
    if str(_folder) not in sys.path:  # the package and the cases, from whatever folder this is called
        sys.path.insert(0, str(_folder))

UNUSABLE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status; see the module."""
    parser = argparse.ArgumentParser(
        prog="parity.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--golden", required=True, metavar="DIR", help="folder of golden data")
    folder = Path(parser.parse_args(arguments).golden)
    if not folder.is_dir():
        print(f"{folder} is not a folder. Give the folder with the golden JSON and safetensors files.", file=sys.stderr)
        return UNUSABLE
    _be_quiet()
    from parity_cases import find_cases
    from parity_cases.folder import GoldenFolder

    counts: Counter[str] = Counter()
    for case in find_cases(GoldenFolder(folder)):
        result = case.run()
        counts[result.status] += 1
        print(result, flush=True)
    if not counts:
        print(f"{folder} holds none of the golden files (generation.json, imagebind.json, …).", file=sys.stderr)
        return UNUSABLE
    print(f"{counts['PASS']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped")
    return 1 if counts["FAIL"] else 0


def _be_quiet() -> None:
    """One line a case: libraries' progress bars and warnings are turned off."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (transformers, diffusers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    logging.getLogger("torch").setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
