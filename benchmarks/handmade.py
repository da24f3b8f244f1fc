"""Compares two parts of the fabric with libraries: sealed tokens with itsdangerous, and event streams with httpx-sse.

`python -m benchmarks.handmade`: decisions 28 and 29. The first run installs the libraries into a folder below .cache.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from codecs import getincrementaldecoder
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from fabric.errors import InvalidToken
from fabric.links.event_stream import EventDecoder, encode_event
from fabric.security.seal import Sealer, SessionSealer, SessionToken
from fabric.security.secret import Keyring

FOLDER = Path(__file__).resolve().parent.parent / ".cache" / "libraries"
PACKAGES = ("itsdangerous==2.2.0", "httpx-sse==0.4.3", "httpx==0.28.1")
ROUNDS, SECONDS = 7, 0.1
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

TOKEN = SessionToken(
    fabric="default", session="0f4c1d0f8bd94f3c", owner="7f9c2ba4e88f827d", server="time", version="2025-06-18",
    client='{"name":"claude-desktop","version":"1.4.2"}', capabilities='{"roots":{"listChanged":true},"sampling":{}}',
    principal="ann", expires=time.time() + 3600,
)  # fmt: skip


def install() -> None:
    """Install the libraries unless they are installed. Raises CalledProcessError."""
    if not FOLDER.exists():
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", str(FOLDER), *PACKAGES], check=True)
    sys.path.append(str(FOLDER))


def microseconds(action: Callable[[], object]) -> float:
    """The CPU of one call: the median of several rounds."""
    rounds = []
    for _ in range(ROUNDS):
        began, calls = time.process_time(), 0
        while time.process_time() - began < SECONDS:
            for _ in range(20):
                action()
            calls += 20
        rounds.append((time.process_time() - began) / calls * 1e6)
    return median(rounds)


# ---------------------------------------------------------------- tokens
def tokens() -> None:
    """Print the table of decision 28."""
    dangerous: Any = import_module("itsdangerous")
    keys = [os.urandom(32), os.urandom(32)]
    ours = Sealer(Keyring(keys), "session")
    caching = SessionSealer(Keyring(keys), "default")
    sealed = caching.seal(TOKEN)
    payload = ours.open(sealed)

    def serializer(**settings: object) -> Any:
        return dangerous.URLSafeTimedSerializer([keys[1], keys[0]], salt="session", serializer=_Bytes, **settings)

    default = serializer()
    alike = serializer(signer_kwargs={"digest_method": hashlib.blake2b, "key_derivation": "none"})
    old = dangerous.URLSafeTimedSerializer([keys[1]], salt="session", serializer=_Bytes)

    print(f"\n| CPU us, {len(payload)} bytes | seal | open | open, old key | length | altered tokens that open |")
    print("|---|---|---|---|---|---|")
    rows: list[tuple[str, Callable[[bytes], Any], Callable[[Any], object], Any]] = [
        ("`Sealer`", ours.seal, ours.open, Sealer(Keyring(keys[1:]), "session").seal(payload)),
        ("itsdangerous, as it comes", *_both(default), _both(old)[0](payload)),
        ("itsdangerous, BLAKE2b, key as it is", *_both(alike), None),
    ]
    for name, seal, unseal, aged in rows:
        token = seal(payload)
        again = f"{microseconds(lambda: unseal(aged)):.1f}" if aged else ""  # noqa: B023 (called at once)
        costs = [f"{microseconds(lambda: seal(payload)):.1f}", f"{microseconds(lambda: unseal(token)):.1f}", again]  # noqa: B023
        print(f"| {name} | {' | '.join(costs)} | {len(token)} | {_opened_altered(token, unseal)} |")
    known = microseconds(lambda: caching.open(sealed, principal="ann", now=0.0))
    print(f"| `SessionSealer`, a token seen before | | {known:.1f} | | | |")


def _both(serializer: Any) -> tuple[Callable[[bytes], str], Callable[[str], object]]:
    """The functions that seal and open with it; its tokens are bytes when its payload is."""
    return lambda payload: serializer.dumps(payload).decode(), lambda token: serializer.loads(token, max_age=3600)


class _Bytes:
    """A serializer that leaves bytes unchanged, so that only the sealing is measured."""

    @staticmethod
    def dumps(payload: bytes) -> bytes:
        return payload

    @staticmethod
    def loads(payload: bytes) -> bytes:
        return payload


def _opened_altered(token: str, unseal: Callable[[Any], object]) -> int:
    """How many tokens that differ in one character, or have one more, can be opened."""
    opened = 0
    for position in range(len(token)):
        for digit in (*DIGITS, "=", "!"):
            altered = token[:position] + digit + token[position + 1 :]
            longer = token[:position] + digit + token[position:]
            opened += sum(_opens(each, unseal) for each in (altered, longer) if each != token)
    return opened


def _opens(token: str, unseal: Callable[[Any], object]) -> bool:
    try:
        unseal(token)
    except InvalidToken:
        return False
    except Exception as error:
        if type(error).__module__.startswith("itsdangerous"):
            return False
        raise
    return True


# ---------------------------------------------------------------- event streams
def event_streams() -> None:
    """Print the table of decision 29."""
    decoders: Any = import_module("httpx_sse._decoders")
    small = encode_event(b'{"jsonrpc":"2.0","id":"1","result":{"text":"%b"}}' % (b"x" * 250))
    large = encode_event(b'{"jsonrpc":"2.0","id":"1","result":{"text":"%b"}}' % (b"x" * (1 << 20)))

    def httpx_sse_feed() -> Callable[[bytes], list[bytes]]:
        text, lines, events = getincrementaldecoder("utf-8")(errors="replace"), decoders.SSELineDecoder(), decoders.SSEDecoder()

        def feed(chunk: bytes) -> list[bytes]:
            decoded = (events.decode(line) for line in lines.decode(text.decode(chunk)))
            return [event.data.encode() for event in decoded if event is not None and event.data]

        return feed

    print("\n| CPU us an event | `EventDecoder` | httpx-sse |\n|---|---|---|")
    cases = [
        ("300 bytes, one a chunk", small, len(small), 1),
        ("300 bytes, 64 in a chunk", small * 64, len(small) * 64, 64),
        ("1 MiB in chunks of 64 KiB", large, 1 << 16, 1),
        ("1 MiB in chunks of 1 KiB", large, 1 << 10, 1),
    ]
    for name, stream, size, count in cases:
        chunks = [stream[position : position + size] for position in range(0, len(stream), size)]
        costs = (_feeding(feed, chunks) / count for feed in (EventDecoder(1 << 24).feed, httpx_sse_feed()))
        print(f"| {name} | {' | '.join(f'{cost:.1f}' for cost in costs)} |")

    print("\n| stream | `EventDecoder` | httpx-sse |\n|---|---|---|")
    for name, stream in [
        ("a byte order mark before the first field", b"\xef\xbb\xbfdata: a\n\n"),
        ("an event without data, after one with an id", b"id: 1\ndata: a\n\nevent: x\n\n"),
        ("`retry: -5`", b"retry: -5\ndata: a\n\n"),
        ("a stream that breaks off within an event that names an id", b"id: 1\ndata: a\n\nid: 2\ndata: b\n"),
    ]:
        own = EventDecoder(1000)
        own_events = [(each.kind, each.data) for each in own.feed(stream) if not isinstance(each, Exception)]
        lines, events = decoders.SSELineDecoder(), decoders.SSEDecoder()
        library_events = [each for line in lines.decode(stream.decode()) if (each := events.decode(line)) is not None]
        as_tuples = [(each.event, each.data.encode(), each.retry) for each in library_events]
        own_result = f"{own_events}, resumes after {own.last_id!r}, retry {own.retry}"
        print(f"| {name} | {own_result} | {as_tuples}, id {events._last_event_id!r} |")


def _feeding(feed: Callable[[bytes], object], chunks: list[bytes]) -> float:
    return microseconds(lambda: [feed(chunk) for chunk in chunks])


if __name__ == "__main__":
    install()
    tokens()
    event_streams()
