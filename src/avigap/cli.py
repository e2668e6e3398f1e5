"""What every script shares: float64, checked arguments, errors as one sentence, progress lines."""

import argparse
import json
import math
import os
import shutil
import signal
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
from jaxtyping import PRNGKeyArray

from avigap.errors import InputError

LARGEST = 2**31 - 1


def run(main: Callable[[], None], gpu: bool = False) -> None:
    """Run a script's main function in float64; what stops it becomes one sentence and an exit code that is not 0.

    Scripts stay on the CPU, side by side, unless ``gpu`` says that a job has a GPU to itself where there is one;
    JAX_PLATFORMS overrules both. SIGTERM ends the script like an error, so that no temporary file stays.
    """
    jax.config.update("jax_enable_x64", True)
    if not gpu and "JAX_PLATFORMS" not in os.environ:
        jax.config.update("jax_platforms", "cpu")
    signal.signal(signal.SIGTERM, _stop)
    try:
        main()
        _flush()
    except InputError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except MemoryError as error:
        _fail(f"not enough memory: {error}")
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        _fail(f"not enough memory: {str(error).splitlines()[0]}")
    except KeyboardInterrupt:
        _stop(signal.SIGINT, None)


def _flush() -> None:
    """Write out what was printed; a reader that has seen enough, as head has, is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(sentence: str) -> NoReturn:
    sys.exit(f"{Path(sys.argv[0]).name}: {sentence}")


def _stop(number: int, _frame: object) -> NoReturn:
    print(f"{Path(sys.argv[0]).name}: stopped by {signal.Signals(number).name}", file=sys.stderr)
    sys.exit(128 + number)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with code 2."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def parser(description: str | None) -> Parser:
    """Return a parser whose errors are one line, whose help shows defaults and which takes no abbreviated flags."""
    formatter = argparse.ArgumentDefaultsHelpFormatter
    return Parser(description=description, formatter_class=formatter, allow_abbrev=False)


def words_of(parser: argparse.ArgumentParser, args: argparse.Namespace, *names: str) -> tuple[str, ...]:
    """Return the words that give some of the arguments again, without those at their defaults."""
    words: list[str] = []
    for name in names:
        value = getattr(args, name)
        if value != parser.get_default(name):
            flag = f"--{name.replace('_', '-')}"
            words += (
                [flag] if value is True else [flag, *(map(str, value) if isinstance(value, list) else [str(value)])]
            )
    return tuple(words)


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object given on the command line (an argparse type)."""
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not valid JSON: {error.msg} at character {error.pos}: {text!r}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"a JSON object such as '{{\"tau\": 1.0}}' is needed, got {text!r}")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise argparse.ArgumentTypeError(f"the key {key!r} is given {keys.count(key)} times")
    return dict(pairs)


def whole(minimum: int) -> Callable[[str], int]:
    """Return an argparse type: a whole number from ``minimum`` on."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if not minimum <= value <= LARGEST:
            raise argparse.ArgumentTypeError(f"must be a whole number from {minimum} to {LARGEST}, got {text!r}")
        return value

    return parse


def check_distinct(flag: str, values: Sequence[object]) -> None:
    """Raise if a value is given twice.

    Raises
    ------
    InputError
        With the flag and the value.
    """
    for value in values:
        if values.count(value) > 1:
            raise InputError(f"{flag} must not repeat a value, got {value} {values.count(value)} times")


def named_key(seed: int, *names: str) -> PRNGKeyArray:
    """Return the random key of a seed folded with names, so that it never depends on order or on other runs."""
    key = jax.random.key(seed)
    for name in names:
        key = jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)
    return key


def print_result(result: dict[str, Any]) -> None:
    """Print one JSON object on a line of standard output; numbers that JSON lacks (NaN, infinity) become null."""
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in result.items()}
    print(json.dumps(finite, allow_nan=False), flush=True)


class Progress:
    """One line of progress on standard error: label, ELBO, rate, time left at most.

    A terminal shows it in place, five times a second; a log gets a line every ``sparse`` seconds.

    Parameters
    ----------
    label
        What is fitted.
    total
        Number of units at which one ascent ends at the latest.
    unit
        What is counted.
    """

    def __init__(self, label: str, total: int, unit: str = "steps", sparse: float = 15.0) -> None:
        self.label, self.total, self.unit, self.sparse = label, total, unit, sparse
        self.start = self.shown = time.monotonic()
        self.done = self.last = 0
        self.terminal = sys.stderr.isatty()

    def __call__(self, start: str, step: int, elbo: float) -> None:
        """Show step ``step``, counted from 1, of the ascent from ``start``, at ``elbo`` nats."""
        now = time.monotonic()
        self.done += step - self.last if step > self.last else step
        self.last = step
        if now - self.shown < (0.2 if self.terminal else self.sparse):
            return
        self.shown = now
        rate = self.done / (now - self.start)
        left = f"{max(self.total - step, 0) / rate:.0f}" if rate else "?"
        line = f"{self.label} [{start}] {step}/{self.total} {self.unit}  ELBO {elbo:.6f}"
        line += f"  {rate:.1f} {self.unit}/s  <= {left} s left"
        if self.terminal:
            line = f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}"
        print(line, end="" if self.terminal else "\n", file=sys.stderr, flush=True)

    def resume(self, step: int) -> None:
        """Count from step ``step``: those up to it were done by an earlier process."""
        self.start, self.last = time.monotonic(), step

    def close(self) -> None:
        """End the line on a terminal."""
        if self.terminal and self.shown > self.start:
            print(file=sys.stderr)
