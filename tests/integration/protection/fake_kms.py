"""A key service that keeps the contract of Alibaba Cloud KMS's Encrypt and Decrypt (API of 2016-01-20).

Kept: plaintext and blob in Base64, the blob names key and version, the encryption context must be equal at
decryption, error codes of the service. The key is SM4, as of specification Aliyun_SM4.
"""

import base64
import json
import os
from collections.abc import Mapping
from typing import Any

from compliance.protection.root_kms import KmsError
from compliance.protection.roots import open_bytes, seal_bytes


class FakeAliyunKms:
    """The service with one or more keys; `enabled` can be taken away from one."""

    def __init__(self, *key_ids: str) -> None:
        self.keys = {key_id: os.urandom(16) for key_id in key_ids}
        self.enabled = set(key_ids)
        self.asked: list[str] = []

    def __call__(self, action: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        self.asked.append(action)
        context = json.dumps(json.loads(parameters["EncryptionContext"]), sort_keys=True).encode()
        if action == "Encrypt":
            key_id = parameters["KeyId"]
            plain = base64.b64decode(parameters["Plaintext"], validate=True)
            blob = key_id.encode() + b"\0" + seal_bytes(self._key(key_id), plain, context)
            return {"KeyId": key_id, "CiphertextBlob": base64.b64encode(blob).decode(), "RequestId": "r"}
        if action == "Decrypt":
            key_id, _, sealed = base64.b64decode(parameters["CiphertextBlob"], validate=True).partition(b"\0")
            try:
                plain = open_bytes(self._key(key_id.decode()), sealed, context)
            except ValueError:
                raise KmsError("InvalidParameter") from None
            return {"KeyId": key_id.decode(), "Plaintext": base64.b64encode(plain).decode(), "RequestId": "r"}
        raise KmsError("UnsupportedOperation")

    def _key(self, key_id: str) -> bytes:
        if key_id not in self.keys:
            raise KmsError("Forbidden.KeyNotFound")
        if key_id not in self.enabled:
            raise KmsError("Rejected.Disabled")
        return self.keys[key_id]
