"""Questions whose answers are published, for both SM engines. Pure data.

Sources: GB/T 32907 example 1 (SM4), RFC 8998 appendix A.1 (SM4-GCM), GB/T 32905 examples (SM3),
HMAC-SM3 of the same engine family recomputed from RFC 2104 over SM3 in `selftest.py`.
"""

SM4_KEY = bytes.fromhex("0123456789abcdeffedcba9876543210")
SM4_PLAIN = SM4_KEY
SM4_CIPHER = bytes.fromhex("681edf34d206965e86b3e94f536e4246")

SM3_ABC = bytes.fromhex("66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0")
SM3_ABCD_16 = bytes.fromhex("debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732")

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
