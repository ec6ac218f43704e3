"""`make demo`: the whole journey of a real model, step by step, with the commands that a reader can type.

    python -m demo [--keep FOLDER] [--serve]

Two homes, an origin and a site, and a folder that plays the disk between them. Every line printed is either a
heading, a command, or what that command said. The demo ends with an error if any step goes another way than told.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from demo import doors
from demo.engine import Engine, EngineTrouble, find_engine, set_up_engine
from demo.story import Story
from demo.telling import tell


def main() -> None:
    """Find an engine, tell the story in a folder of its own, and leave nothing behind unless asked."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the homes and the medium in this new folder"
    )
    parser.add_argument(
        "--serve", action="store_true", help="afterwards leave the site open to browsers until Ctrl-C"
    )
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever ends it, what was begun is ended and removed
        signal.signal(number, signal.default_int_handler)
    engine = _engine()
    began = time.monotonic()
    folder = _folder(arguments.keep)
    story = Story(folder)
    try:
        tell(story, engine)
        print(f"\nThe journey took {time.monotonic() - began:.0f} seconds.", flush=True)
        if arguments.serve:
            doors.stay_open(story)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(
        f"Everything is in {folder}."
        if arguments.keep
        else "Nothing was left behind; `make demo DEMO='--keep FOLDER'` keeps it all."
    )


def _engine() -> Engine:
    try:
        engine = find_engine()
        if engine is None:
            set_up_engine(lambda text: print(text, flush=True))
            engine = find_engine()
    except EngineTrouble as trouble:
        sys.exit(f"Refused: {trouble}")
    assert engine is not None, "it was just set up"
    print(f"Engine: {engine.name} {engine.version} ({engine.path})")
    return engine


def _folder(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="tidegate-demo-"))
    if keep.exists():
        sys.exit(f"Refused: {keep} exists; name a new folder")
    keep.mkdir(parents=True)
    return keep.absolute()


if __name__ == "__main__":
    main()
