"""What every script shares: float64, JSON arguments, errors as one sentence, progress lines."""

import argparse
import json
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from avigap.errors import InputError


def run(main: Callable[[], None]) -> None:
    """Run a script's main function in float64; an :class:`InputError` becomes one sentence and exit code 2."""
    jax.config.update("jax_enable_x64", True)
    try:
        main()
    except InputError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
    except OSError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error.filename}: {error.strerror}")


def parser(description: str) -> argparse.ArgumentParser:
    """Return an argument parser whose errors are one line and whose help shows defaults."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object given on the command line (an argparse type)."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not valid JSON: {error.msg} at character {error.pos}: {text!r}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"a JSON object such as '{{\"tau\": 1.0}}' is needed, got {text!r}")
    return value


def named_key(seed: int, *names: str) -> PRNGKeyArray:
    """Return the random key of a seed folded with names, so that it never depends on order or on other runs."""
    key = jax.random.key(seed)
    for name in names:
        key = jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)
    return key


def print_result(result: dict[str, Any]) -> None:
    """Print one JSON object on a line of standard output."""
    print(json.dumps(result), flush=True)


class Progress:
    """One line of progress on standard error: label, ELBO, steps per second, time left at most.

    A terminal shows it in place, five times a second; a log gets a line every ``sparse`` seconds.
    """

    def __init__(self, label: str, total: int, sparse: float = 15.0) -> None:
        self.label, self.total, self.sparse = label, total, sparse
        self.start = self.shown = time.monotonic()
        self.steps = 0
        self.terminal = sys.stderr.isatty()

    def __call__(self, start: str, step: int, elbo: float) -> None:
        """Show step ``step`` of the ascent from ``start``, at ``elbo`` nats."""
        now = time.monotonic()
        self.steps += 1
        if now - self.shown < (0.2 if self.terminal else self.sparse):
            return
        self.shown = now
        rate = self.steps / (now - self.start)
        left = (self.total - step) / rate
        line = f"{self.label} [{start}] step {step}/{self.total}  ELBO {elbo:.6f}  {rate:.1f} steps/s  <= {left:.0f} s left"
        print(
            f"\r\x1b[K{line}" if self.terminal else line, end="" if self.terminal else "\n", file=sys.stderr, flush=True
        )

    def close(self) -> None:
        """End the line on a terminal."""
        if self.terminal and self.shown > self.start:
            print(file=sys.stderr)
