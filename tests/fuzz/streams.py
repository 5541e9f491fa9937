"""What a device may send, and what it never should: random, and real things broken at random.

Bytes that nobody shaped rarely get past the first `if`. So most streams are made of pieces that a scanner, a
card reader or a printer really sends, in any order, cut, doubled, and with bits turned.
"""

from __future__ import annotations

from random import Random

BYTES_MAX = 96
LONG_BYTES = 6_000  # more than a frame may have
LONG_ONE_IN = 500

PIECES = (
    b"2000000012346",
    b"4607025392408",
    b"]E0",
    b"]C1",
    b"]d2\x1d",
    b"\x1d",
    b"\r",
    b"\n",
    b"\r\n",
    b"\t",
    b"\x02",
    b"\x03",
    b"%B4111111111111111^IVANOV/IVAN^2912201?",
    b";4111111111111111=2912201?",
    b";2000000012346=9912?",
    b"+012000000012346=9?",
    b"%E?",
    b";E?",
    b"?",
    b"\xd0\x9f\xd1\x80",
    b"\xff\xfe",
    b"\x00",
    b"\x12",
    b"\x7e",
    b"\x10\x00\x00\x00",
    b"\x37\x22ABCD\x00",
    b"\x5fA\x00",
    b"\x1b@\x1c.\x1bt\x11",
    b"\x1d(k\x04\x001A2\x00",
    b"\x1dV\x00",
    b"\x10\x04\x01",
    b"\x0c\x1bQA",
    b"\x04\x01C1X\x17",
)


def stream(random: Random) -> bytes:
    """One stream of at most BYTES_MAX bytes, now and then a very long one."""
    if random.randrange(LONG_ONE_IN) == 0:
        return bytes([random.randrange(256)]) * LONG_BYTES + random.choice(PIECES)
    if random.random() < 0.25:
        return random.randbytes(random.randrange(BYTES_MAX))
    made = bytearray()
    while len(made) < BYTES_MAX and random.random() < 0.85:
        made += random.choice(PIECES)
    for _ in range(random.choice((0, 0, 1, 3))):
        if made:
            at = random.randrange(len(made))
            turn = random.randrange(3)
            if turn == 0:
                made[at] ^= 1 << random.randrange(8)
            elif turn == 1:
                del made[at:]
            else:
                made[at:at] = made[: random.randrange(len(made))]
    return bytes(made[: BYTES_MAX * 2])


def cut(data: bytes, random: Random) -> list[bytes]:
    """The same in pieces, as a wire may bring it."""
    pieces = []
    while data:
        size = random.randrange(1, 24)
        pieces.append(data[:size])
        data = data[size:]
    return pieces
