"""Mutations of the bytes of a file, from a seed."""
from __future__ import annotations

import random
from collections.abc import Callable


def cut(data: bytes, rng: random.Random) -> bytes:
    """Cut off the end."""
    return data[: rng.randrange(len(data))]


def flip(data: bytes, rng: random.Random) -> bytes:
    """Flip some bits."""
    mutated = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8, 40])):
        mutated[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(mutated)


def flip_head(data: bytes, rng: random.Random) -> bytes:
    """Change bytes of the header, which contains sizes and types."""
    mutated = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        mutated[rng.randrange(min(len(data), 80))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    return bytes(mutated)


def overwrite(data: bytes, rng: random.Random) -> bytes:
    """Overwrite a range with noise, or with zeros as after a crash."""
    start = rng.randrange(len(data))
    length = min(rng.choice([4, 64, 512]), len(data) - start)
    return data[:start] + (bytes(length) if rng.random() < 0.5 else rng.randbytes(length)) + data[start + length :]


def shift(data: bytes, rng: random.Random) -> bytes:
    """Remove a range, repeat it, or follow it with noise."""
    start, length = rng.randrange(len(data)), rng.choice([1, 3, 100])
    middle = rng.choice([b"", data[start : start + length] * 2, data[start : start + length] + rng.randbytes(length)])
    return data[:start] + middle + data[start + length :]


def append(data: bytes, rng: random.Random) -> bytes:
    """Append bytes."""
    return data + rng.choice([data, rng.randbytes(300), bytes(300)])


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [cut, flip, flip_head, overwrite, shift, append]


def mutate(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Apply a random mutation; returns its name and the bytes."""
    how = rng.choice(MUTATIONS)
    return how.__name__, how(data, rng)
