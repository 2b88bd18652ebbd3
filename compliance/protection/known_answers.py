"""Questions whose answers are published, for both SM engines. Pure data.

Sources: GB/T 32907 examples 1 and 2 (SM4), RFC 8998 appendix A.1 (SM4-GCM), GB/T 32905 examples (SM3),
GB/T 32918.5-2017 annex A.2 (SM2 signature). HMAC-SM3 is recomputed from RFC 2104 over the other engine's
SM3 in `selftest.py`.
"""

SM4_KEY = bytes.fromhex("0123456789abcdeffedcba9876543210")
SM4_PLAIN = SM4_KEY
SM4_CIPHER = bytes.fromhex("681edf34d206965e86b3e94f536e4246")

SM3_ABC = bytes.fromhex("66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0")
SM3_ABCD_16 = bytes.fromhex("debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732")

SM4_CIPHER_10_000 = bytes.fromhex("2d8bfc27381c68ecb316320ee72ba074")
"""Encrypted 10,000 times over. Source: both engines agree (research/compliance.md 2.1); the standard's own
example has 1,000,000 rounds, which a test runs: a start should not take as long."""
SM4_CIPHER_1_000_000 = bytes.fromhex("595298c7c6fd271f0402f804c33d3f66")

SM2_PRIVATE = bytes.fromhex("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8")
SM2_NONCE = bytes.fromhex("59276e27d506861a16680f3ad9c02dccef3cc1fa3cdbe4ce6d54b80deac1bc21")
SM2_SIGNATURE = bytes.fromhex(
    "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
    "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
)

GCM_KEY = bytes.fromhex("0123456789abcdeffedcba9876543210")
GCM_NONCE = bytes.fromhex("00001234567800000000abcd")
GCM_BOUND = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
GCM_PLAIN = bytes.fromhex(
    "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd"
    "eeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa"
)
GCM_CIPHER = bytes.fromhex(
    "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735"
    "d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
)
GCM_TAG = bytes.fromhex("83de3541e4c2b58177e065a9bf7b62ec")
