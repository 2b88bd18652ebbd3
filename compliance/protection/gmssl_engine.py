"""The second engine, `gmssl`, behind guards against its known defects (research/compliance.md 2.3).

Only the SM4 block function and SM3 are offered, and only for cross-checks: it is pure Python, 30 to
500 times slower, and has no authenticated mode. Pure: same input, same answer.
"""

from gmssl import sm3, sm4

BLOCK_BYTES = 16


def encrypt_sm4_block(key: bytes, block: bytes) -> bytes:
    """Return one SM4 block; ValueError for another length than 16 bytes of either argument."""
    # Defect 7: lengths are unchecked, a longer key is silently cut.
    if len(key) != BLOCK_BYTES or len(block) != BLOCK_BYTES:
        raise ValueError(f"key of {len(key)} and block of {len(block)} bytes: needs 16 and 16")
    # Defect 9: the object holds a mutable key schedule; one object a call, never shared.
    engine = sm4.CryptSM4()
    engine.set_key(key, sm4.SM4_ENCRYPT)
    # The public modes pad; one_round is the bare block function. Lists are ours (defect 8's kin).
    return bytes(engine.one_round(list(engine.sk), list(block)))


def compute_sm3(message: bytes) -> bytes:
    """Return SM3 of `message`, 32 bytes."""
    # Defect 8: it pads the caller's list in place and cannot take bytes; give it a copy.
    return bytes.fromhex(sm3.sm3_hash(list(message)))
