"""Philox4x32-10 in plain integers, and its known answers."""

MASK = 0xFFFFFFFF


def philox(key, counter):
    """Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011): ten rounds.

    A round multiplies two of the four words, swaps high and low halves, and mixes in the key; the
    key moves on by the golden ratio and by sqrt(3) - 1.
    """
    (k0, k1), (x0, x1, x2, x3) = key, counter
    for _ in range(10):
        a, b = 0xD2511F53 * x0, 0xCD9E8D57 * x2
        x0, x1, x2, x3 = (b >> 32) ^ x1 ^ k0, b & MASK, (a >> 32) ^ x3 ^ k1, a & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return x0, x1, x2, x3


# kat_vectors of Random123, philox4x32-10: counter, key, answer
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip
