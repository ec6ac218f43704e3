"""Killed at any moment, the site is as before or as after, and the same command finishes the job."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.gap import World, make_world, model_files, small_chunks, state_of, weights

# What a kill can fall between: each of these reaches the kernel once per call.
STEPS = ("pwrite", "fsync", "rename", "chmod", "unlink", "ftruncate", "mkdir", "rmdir")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("kill") / "world")
    made.add("acme/tiny", model_files())
    made.add("acme/wide", {**model_files(), "model.safetensors": weights(7, 30_000)})
    made.add("acme/large", {**model_files(), "model.safetensors": weights(9, 24 << 20)})
    return made


def import_in_child(world: World, medium: Path, *, before: Callable[[], None] | None = None) -> int:
    """Import in a process of its own; returns its id at once."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if before is not None:
                before()
            world.receive(medium)
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    return child


def ended(child: int) -> int:
    """Wait; return the exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killing_at(number: int) -> Callable[[], None]:
    """Return what makes this process die at its n-th step."""

    def arm() -> None:
        left = [number]

        def wrap(real: Callable[..., object]) -> Callable[..., object]:
            def step(*args: object, **kwargs: object) -> object:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)

            return step

        for name in STEPS:
            setattr(os, name, wrap(getattr(os, name)))

    return arm


@pytest.mark.slow
def test_killed_at_every_step_the_next_try_finishes(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_chunks(monkeypatch, 16_384)
    packed = world.copied(tmp_path / "packed")
    medium = packed.ship("acme/tiny@1")
    reference = packed.copied(tmp_path / "reference")
    reference.receive(medium)
    wanted = state_of(reference.site)
    killed = 0
    for number in range(1, 1000):
        tried = packed.copied(tmp_path / f"try-{number}")
        code = ended(import_in_child(tried, medium, before=killing_at(number)))
        seen = state_of(tried.site)
        if code == 0:
            assert wanted == seen
            break
        killed += 1
        assert -signal.SIGKILL == code
        assert ([] == seen["versions"]) == ([] == seen["imports"])  # all of it or nothing
        assert seen["versions"] in ([], wanted["versions"])
        tried.receive(medium)
        assert wanted == state_of(tried.site)
    assert killed > 30


@pytest.mark.slow
def test_killed_at_ten_random_moments_the_last_try_finishes(world: World, tmp_path: Path) -> None:
    """The same home, killed again and again while 24 MiB are on their way."""
    packed = world.copied(tmp_path / "packed")
    medium = packed.ship("acme/large@1", "acme/wide@1")
    reference = packed.copied(tmp_path / "reference")
    began = time.monotonic()
    assert 0 == ended(import_in_child(reference, medium))
    took = time.monotonic() - began
    chosen = random.Random(20261120)
    for number in range(10):
        tried = packed.copied(tmp_path / f"try-{number}")
        for _again in range(2):
            child = import_in_child(tried, medium)
            time.sleep(chosen.uniform(0, took))
            os.kill(child, signal.SIGKILL)
            assert ended(child) in (0, -signal.SIGKILL)
        tried.receive(medium)
        assert state_of(reference.site) == state_of(tried.site)
