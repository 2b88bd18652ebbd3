"""One contract for every root: file, PKCS#11 token (SoftHSM2), SDF device (a stub with real SM4), cloud KMS.

SoftHSM2 comes from the system's packages (`apt-get install softhsm2`); without it the PKCS#11 rows are
skipped, and said so. The cloud's own service is asked when BIYI_KMS_ENDPOINT, BIYI_KMS_KEY and
BIYI_KMS_CREDENTIALS (a file) are set.
"""

import base64
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from compliance.protection import known_answers
from compliance.protection import ring as rings
from compliance.protection.errors import RingFileError, RootUnavailable
from compliance.protection.key_file import ensure_key_file
from compliance.protection.ring_file import change_root, make_ring, read_head, read_ring
from compliance.protection.root_kms import KmsRoot, open_aliyun
from compliance.protection.root_pkcs11 import Pkcs11Root
from compliance.protection.root_sdf import SdfRoot
from compliance.protection.roots import Root, open_root
from tests.integration.protection.fake_kms import FakeAliyunKms

SOFTHSM = [
    path
    for path in ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")
    if Path(path).exists() and shutil.which("softhsm2-util")
]
NO_SOFTHSM = "NOT TESTED: PKCS#11 root; SoftHSM2 is not installed (apt-get install softhsm2)"
NO_COMPILER = "NOT TESTED: SDF root; there is no C compiler (cc) to build the stub device with"
KEY, CONTEXT = bytes(range(16)), b"kek|idc|0011223344556677"
Pair = tuple[Root, Root]


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not SOFTHSM:
        pytest.skip(NO_SOFTHSM)
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    conf = folder / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    os.environ["SOFTHSM2_CONF"] = str(conf)  # the library reads it once in a process
    make = ["softhsm2-util", "--init-token", "--free", "--label", "biyi", "--so-pin", "12345678"]
    subprocess.run([*make, "--pin", "87654321"], check=True, capture_output=True)
    yield "biyi"
    del os.environ["SOFTHSM2_CONF"]


@pytest.fixture(scope="session")
def sdf_library(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip(NO_COMPILER)
    library = tmp_path_factory.mktemp("sdf") / "libsdf_stub.so"
    source = Path(__file__).parent / "shims" / "sdf_stub.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    return str(library)


def file_roots(folder: Path) -> Pair:
    for name in ("one", "other"):
        ensure_key_file(folder / name)
    one, other = (open_root({"kind": "file", "file": name}, folder) for name in ("one", "other"))
    return one, other


@pytest.fixture(params=["file", "pkcs11", "sdf", "kms"])
def roots(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Two different roots of one kind."""
    if request.param == "file":
        return file_roots(tmp_path)
    if request.param == "pkcs11":
        label = request.getfixturevalue("token")
        tokens = [Pkcs11Root(SOFTHSM[0], label, key, "87654321") for key in ("root-1", "root-2")]
        for each in tokens:
            each.ensure_key()
            assert each.ensure_key() is False
        return tokens[0], tokens[1]
    if request.param == "sdf":
        library = request.getfixturevalue("sdf_library")
        return SdfRoot(library, 1, "a-good-pin"), SdfRoot(library, 2, "a-good-pin")
    service = FakeAliyunKms("key-1", "key-2")
    return KmsRoot(service, "key-1"), KmsRoot(service, "key-2")


def test_a_root_opens_what_it_wrapped_and_nothing_else(roots: Pair) -> None:
    one, other = roots
    wrapped = one.wrap(KEY, CONTEXT)
    assert one.unwrap(wrapped, CONTEXT) == KEY
    assert KEY not in wrapped
    assert one.wrap(KEY, CONTEXT) != wrapped
    for root, context in ((one, CONTEXT + b"x"), (other, CONTEXT)):
        with pytest.raises(RootUnavailable):
            root.unwrap(wrapped, context)


def test_any_changed_byte_is_found(roots: Pair) -> None:
    one, _ = roots
    wrapped = one.wrap(KEY, CONTEXT)
    for place in range(len(wrapped)):
        broken = wrapped[:place] + bytes([wrapped[place] ^ 1]) + wrapped[place + 1 :]
        try:
            opened = one.unwrap(broken, CONTEXT)
        except (RootUnavailable, ValueError):
            continue
        # Base64 has spellings that decode alike: then nothing was changed.
        assert base64.b64decode(broken) == base64.b64decode(wrapped)
        assert opened == KEY


def test_its_label_says_what_it_is_and_no_secret(roots: Pair) -> None:
    label = roots[0].label
    assert label.split()[0] in ("file", "pkcs11", "sdf", "aliyun-kms")
    assert "SM4" in label or "AES" in label
    assert "pin" not in label.lower().replace("a-good-pin", "PIN SHOWN")


def test_the_stub_devices_sm4_is_sm4(sdf_library: str) -> None:
    out = ctypes.create_string_buffer(16)
    ctypes.CDLL(sdf_library).stub_sm4(known_answers.SM4_KEY, known_answers.SM4_PLAIN, out)
    assert out.raw == known_answers.SM4_CIPHER


@pytest.mark.parametrize(("pin", "index", "code"), [("short", 1, "01000007"), ("a-good-pin", 9, "01000008")])
def test_a_refusal_of_the_device_is_named(sdf_library: str, pin: str, index: int, code: str) -> None:
    with pytest.raises(RootUnavailable, match=f"answered 0x{code}") as refused:
        SdfRoot(sdf_library, index, pin).wrap(KEY, CONTEXT)
    assert pin not in str(refused.value)


def test_a_disabled_key_of_the_service_is_named() -> None:
    service = FakeAliyunKms("key-1")
    root = KmsRoot(service, "key-1")
    wrapped = root.wrap(KEY, CONTEXT)
    service.enabled.clear()
    with pytest.raises(RootUnavailable, match=r"Decrypt refused \(Rejected.Disabled\)"):
        root.unwrap(wrapped, CONTEXT)


def test_a_wrong_pin_of_the_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(RootUnavailable, match="PinIncorrect") as refused:
        Pkcs11Root(SOFTHSM[0], token, "root-1", "11112222").wrap(KEY, CONTEXT)
    assert "11112222" not in str(refused.value)


def test_the_cloud_itself_keeps_the_contract() -> None:
    wanted = [os.environ.get(f"BIYI_KMS_{name}") for name in ("ENDPOINT", "KEY", "CREDENTIALS")]
    if None in wanted:
        pytest.skip("NOT TESTED: Alibaba Cloud KMS itself; set BIYI_KMS_ENDPOINT, _KEY and _CREDENTIALS")
    endpoint, key_id, credentials = map(str, wanted)
    root = KmsRoot(open_aliyun(endpoint, Path(credentials).read_text()), key_id)
    assert root.unwrap(root.wrap(KEY, CONTEXT), CONTEXT) == KEY
    with pytest.raises(RootUnavailable):
        root.unwrap(root.wrap(KEY, CONTEXT), CONTEXT + b"x")


@pytest.mark.parametrize("kind", ["pkcs11", "sdf"])
def test_a_ring_moves_from_a_file_root_into_a_device(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "pin").write_text("87654321")
    (tmp_path / "pin").chmod(0o600)
    ensure_key_file(tmp_path / "root.key")
    path = tmp_path / "ring.json"
    ring = rings.plant_rings(["idc"], os.urandom)["idc"]
    make_ring(path, ring, {"kind": "file", "file": "root.key"})
    if kind == "pkcs11":
        label = request.getfixturevalue("token")
        config = {"kind": kind, "library": SOFTHSM[0], "token": label, "key": "root-1", "pin_file": "pin"}
        Pkcs11Root(SOFTHSM[0], label, "root-1", "87654321").ensure_key()
    else:
        library = request.getfixturevalue("sdf_library")
        config = {"kind": kind, "library": library, "key_index": 1, "pin_file": "pin"}
    change_root(path, config)
    (tmp_path / "root.key").unlink()
    assert read_ring(path).secrets == ring.secrets
    assert read_head(path).root["kind"] == kind
    (tmp_path / "pin").chmod(0o640)
    with pytest.raises(RingFileError, match="needs 0600"):
        read_ring(path)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"kind": "rot13"}, "kind rot13 is not known"),
        ({}, "kind None is not known"),
        ({"kind": "file"}, "needs the field 'file'"),
        ({"kind": "sdf", "library": "x"}, "needs the field"),
    ],
)
def test_a_root_that_cannot_be_is_refused(config: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(RingFileError, match=words):
        open_root(config, tmp_path)
