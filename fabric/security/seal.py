"""Sealed tokens: bytes that a client gets and has to give back unaltered, such as a session id.

A token is authenticated, not encrypted: its holder can read it, and only a process with the fabric secret can make one. It is
unpadded base64url of `key id (4 bytes) | MAC (16 bytes) | payload`, with a keyed BLAKE2b MAC; it is visible ASCII, as an
Mcp-Session-Id must be, and names the key that sealed it, so that two keys are valid while the secret rotates.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from functools import lru_cache

import msgspec

from fabric.errors import InvalidToken
from fabric.security.secret import Keyring

_ID_BYTES = 4
_MAC_BYTES = 16

MAX_TOKEN_BYTES = 2048
"""The longest session token: each request carries it in an HTTP header."""

REMEMBERED_TOKENS = 4096
"""How many opened session tokens are remembered, the least recently used dropped first: at most some 16 MiB."""


class Sealer:
    """Seals and opens tokens for one purpose; a token of another purpose does not open."""

    def __init__(self, keyring: Keyring, purpose: str) -> None:
        self._keys = {bytes.fromhex(id): keyring.subkey(f"seal {purpose}", id) for id in keyring.ids}
        self._signing = bytes.fromhex(keyring.signing_id)

    def seal(self, payload: bytes) -> str:
        """The token of these bytes, under the signing key."""
        return _written(self._signing + self._mac(self._signing, payload) + payload)

    def open(self, token: str) -> bytes:
        """The bytes that were sealed. Raises InvalidToken for a token that this fabric did not seal, exact to the last bit."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError:
            raise InvalidToken("not a token of this fabric") from None
        id, mac, payload = raw[:_ID_BYTES], raw[_ID_BYTES : _ID_BYTES + _MAC_BYTES], raw[_ID_BYTES + _MAC_BYTES :]
        if id not in self._keys:
            raise InvalidToken("not a token of this fabric, or sealed with a secret that is no longer in use")
        # decoding ignores foreign characters and the last digit's unused bits, so the token has to be as we would write it
        if not hmac.compare_digest(mac, self._mac(id, payload)) or _written(raw) != token:
            raise InvalidToken("an altered token")
        return payload

    def _mac(self, id: bytes, payload: bytes) -> bytes:
        return hashlib.blake2b(payload, digest_size=_MAC_BYTES, key=self._keys[id], person=b"mcpf seal").digest()


class SessionToken(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The content of a legacy session id."""

    fabric: str
    """The fabric's name."""
    session: str
    """The session's own id."""
    owner: str
    """The incarnation that owned the session first."""
    server: str
    """The MCP server's name."""
    version: str
    """The negotiated protocol version."""
    client: str = ""
    """The clientInfo of the session's initialize, raw JSON; empty if it did not fit. Read by nobody until sessions move."""
    capabilities: str = ""
    """The client's capabilities, raw JSON; empty if they did not fit. Read by nobody until sessions move."""
    principal: str = ""
    """The caller that opened the session."""
    expires: float
    """When the token expires, in Unix seconds."""


class SessionSealer:
    """Seals and opens the session ids of one fabric. To open a recent one again costs a look-up."""

    def __init__(self, keyring: Keyring, fabric: str) -> None:
        self._sealer = Sealer(keyring, "session")
        self._fabric = fabric
        self._read = lru_cache(maxsize=REMEMBERED_TOKENS)(self._unsealed)

    def seal(self, token: SessionToken) -> str:
        """The session id. One over MAX_TOKEN_BYTES is sealed without client and capabilities.

        Raises InvalidToken if it is too long even then.
        """
        text = self._sealer.seal(_encoder.encode(token))
        if len(text) > MAX_TOKEN_BYTES:
            text = self._sealer.seal(_encoder.encode(msgspec.structs.replace(token, client="", capabilities="")))
        if len(text) > MAX_TOKEN_BYTES:
            raise InvalidToken(f"a session id of {len(text)} bytes is too long, with a principal of {len(token.principal)}")
        return text

    def open(self, text: str, *, principal: str, now: float) -> SessionToken:
        """The content of a session id that `principal` presents at Unix time `now`.

        Raises InvalidToken if it was altered, belongs to another fabric or principal, or has expired.
        """
        token = self._read(text)
        if token.principal != principal:
            raise InvalidToken("a session of another caller")
        if token.expires <= now:
            raise InvalidToken("a session that has expired")
        return token

    def _unsealed(self, text: str) -> SessionToken:
        if len(text) > MAX_TOKEN_BYTES:
            raise InvalidToken("too long for a session id of this fabric")
        try:
            token = _decoder.decode(self._sealer.open(text))
        except msgspec.DecodeError as error:
            raise InvalidToken(f"a session id of another release: {error}") from error
        if token.fabric != self._fabric:
            raise InvalidToken("a session of another fabric")
        return token


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SessionToken)


def _written(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
