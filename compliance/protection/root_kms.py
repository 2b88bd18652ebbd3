"""A root in a cloud's key service: Alibaba Cloud KMS, key of specification `Aliyun_SM4`.

The service's API is described here by what is used of it (`Encrypt` and `Decrypt` with an encryption
context, API version 2016-01-20), so that the root is tested against a service of our own that keeps the
same contract; `open_aliyun` is the only place that knows the cloud's client library.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Protocol

from compliance.protection.errors import RootUnavailable

_CONTEXT_FIELD = "biyi"


class KmsCall(Protocol):
    """Calls one action of the key service."""

    def __call__(self, action: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the fields of the answer; KmsError when the service refuses."""


class KmsError(Exception):
    """The key service refused; `code` is its own word, for instance `Forbidden.KeyNotFound`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class KmsRoot:
    """One key of the service; the key never leaves it."""

    def __init__(self, call: KmsCall, key_id: str) -> None:
        self._call, self._key_id = call, key_id
        self.label = f"aliyun-kms key {key_id} (Aliyun_SM4)"

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Return the service's ciphertext, which names its key version itself."""
        plain = base64.b64encode(key).decode()
        answer = self._ask(
            "Encrypt", {"KeyId": self._key_id, "Plaintext": plain, "EncryptionContext": _context(context)}
        )
        return str(answer["CiphertextBlob"]).encode()

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the key; RootUnavailable when the service refuses, or opened it with another key."""
        fields = {"CiphertextBlob": wrapped.decode(), "EncryptionContext": _context(context)}
        answer = self._ask("Decrypt", fields)
        # The service picks the key from the ciphertext: one of another key must not pass for ours.
        if answer.get("KeyId") != self._key_id:
            raise RootUnavailable(f"{self.label}: the service opened it with another key")
        return base64.b64decode(str(answer["Plaintext"]))

    def _ask(self, action: str, fields: Mapping[str, str]) -> Mapping[str, Any]:
        try:
            return self._call(action, fields)
        except KmsError as error:
            raise RootUnavailable(f"{self.label}: {action} refused ({error.code})") from None


def _context(context: bytes) -> str:
    return json.dumps({_CONTEXT_FIELD: context.decode()})


def open_aliyun(endpoint: str, credentials: str) -> KmsCall:
    """Return calls to the real service; RootUnavailable when its client library is not installed.

    `credentials` is a JSON text {"id": ..., "secret": ...} of a RAM user who may only use this key.
    """
    try:
        from alibabacloud_tea_openapi import client, models
        from alibabacloud_tea_util.models import RuntimeOptions
        from Tea.exceptions import TeaException
    except ImportError as error:
        raise RootUnavailable(
            f"aliyun-kms: {error.name} is not installed; pip install 'biyi[aliyun]'"
        ) from None
    known = json.loads(credentials)
    config = models.Config(access_key_id=known["id"], access_key_secret=known["secret"], endpoint=endpoint)
    service = client.Client(config)

    def call(action: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        about = models.Params(
            action=action, version="2016-01-20", protocol="HTTPS", pathname="/", method="POST",
            auth_type="AK", style="RPC", req_body_type="formData", body_type="json",
        )  # fmt: skip
        try:
            answer = service.call_api(about, models.OpenApiRequest(query=dict(parameters)), RuntimeOptions())
        except TeaException as error:
            raise KmsError(str(error.code)) from None
        body: Mapping[str, Any] = answer["body"]
        return body

    return call
