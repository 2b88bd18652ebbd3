"""The stand's own certificate authority: who gets a certificate, renewing them, revoking the old ones.

Everything lies in the stand's home: the authority in `keys/`, the certificates in `<site>/tls` (the
operator has one at each data site), those of the fake banks in `outside/tls` (layout: `replication.tls`).
"""

import datetime as dt
import ipaddress
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from replication.model import DATA_SITES, Site
from replication.tls import CURRENT, DOMAIN, OPERATOR, PARTNERS, PROMETHEUS, REVOKED
from runbooks.stand.ports import BANKS, OUTSIDE

VALID = dt.timedelta(days=90)
"""Of a process's certificate. Source: our choice; a drill renews them, so nobody has to remember."""
RENEW_BEFORE = dt.timedelta(days=30)
"""`biyi stand up` renews what is valid for less. Source: our choice, a third of `VALID`."""
AUTHORITY_VALID = dt.timedelta(days=3650)
"""Source: our choice; a stand does not live so long."""
_BACKDATED = dt.timedelta(hours=1)
"""Clocks of two sites may differ. Source: our choice."""

OURS = "ca"
"""The authority of the stand's own processes; the other one, `outside`, vouches for the banks."""
WITNESS_KINDS = ("border", "etcd")
DATA_SITE_KINDS = (
    *WITNESS_KINDS, "agent", "api", "console", "migrate", "notary", "payer", "projector", "valkey", "watcher",
    OPERATOR, PROMETHEUS,
)  # fmt: skip
ETCD_PEER = f"etcd-peer.{DOMAIN}"
"""DNS name that etcd asks of its peers (`--peer-cert-allowed-hostname`)."""
_ETCD_PEERS = {"etcd", "border"}
"""etcd asks the proxy to its peers for the name that it asks of its peers."""
_AT_AN_ADDRESS = {"api", "border", "console", "etcd", "valkey"}
"""Called by address: by customers, etcd's proxy client, browsers, etcd itself, Valkey's clients."""

_KEY_USAGE = {
    "content_commitment": False, "data_encipherment": False, "encipher_only": False,
    "decipher_only": False, "key_encipherment": False, "key_agreement": False,
}  # fmt: skip


def tls_dir(home: Path, where: str) -> Path:
    """Return the directory of certificates of a site or of `outside`."""
    return home / where / "tls"


def holders() -> dict[str, tuple[str, ...]]:
    """Return who has a certificate, by the directory's name: `idc` -> (`agent`, ...)."""
    sites = {str(site): DATA_SITE_KINDS if site in DATA_SITES else WITNESS_KINDS for site in Site}
    return {**sites, OUTSIDE: BANKS}


def names_of(where: str, kind: str) -> list[x509.GeneralName]:
    """Return the names that the certificate of a kind of process at a place carries, beside the common one.

    None for who only asks for figures: etcd compares the names of a caller there with its address.
    """
    if kind == PROMETHEUS:
        return []
    names = [f"{kind}.{where}.{DOMAIN}", f"{kind}.{DOMAIN}"]
    names += [ETCD_PEER] * (kind in _ETCD_PEERS)
    if kind in _AT_AN_ADDRESS:
        return [
            *map(x509.DNSName, [*names, "localhost"]),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
    return [*map(x509.DNSName, names)]


def ensure_certificates(home: Path, now: dt.datetime) -> None:
    """Make what is missing; renew everything when something is valid for under `RENEW_BEFORE`.

    What was valid before stays so: processes that run may still present it. Revoking is `renewal`'s.
    """
    for name in (OURS, OUTSIDE):
        _ensure_authority(home, name, now)
    if any(not _is_good(home, where, kinds, now) for where, kinds in holders().items()):
        put_in_force(home, issue(home, now))


def issue(home: Path, now: dt.datetime, valid: dt.timedelta = VALID) -> int:
    """Make keys and certificates of a new generation, not in force yet; return its number."""
    found = [int(path.name) for where in holders() for path in _generations(tls_dir(home, where))]
    number = max(found, default=0) + 1
    for where, kinds in holders().items():
        folder = tls_dir(home, where) / str(number)
        folder.mkdir(parents=True, mode=0o700)
        folder.parent.chmod(0o700)
        shutil.copyfile(_authority(home, OURS, "crt"), folder / "ca.crt")
        shutil.copyfile(_authority(home, OUTSIDE, "crt"), folder / PARTNERS)
        for kind in kinds:
            issue_one(home, folder, (where, kind), now, valid)
    return number


def issue_one(
    home: Path, folder: Path, holder: tuple[str, str], now: dt.datetime, valid: dt.timedelta
) -> None:
    """Write key and certificate of `(place, kind)` into `folder`, signed by the authority of `home`."""
    where, kind = holder
    key = ec.generate_private_key(ec.SECP256R1())
    signs = OUTSIDE if where == OUTSIDE else OURS
    authority = x509.load_pem_x509_certificate(_authority(home, signs, "crt").read_bytes())
    builder = (
        _begun(f"{kind}.{where}", authority.subject, key.public_key(), now, valid)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **_KEY_USAGE), True
        )
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False
        )
        .add_extension(_issuer_id(authority), critical=False)
    )
    if names := names_of(where, kind):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(_authority_key(home, signs), hashes.SHA256())
    _write_private(folder / f"{kind}.key", _plain_key(key))
    _write_private(folder / f"{kind}.crt", certificate.public_bytes(serialization.Encoding.PEM))


def put_in_force(home: Path, number: int) -> None:
    """Have every process present the certificates of a generation from its next look on."""
    for where in holders():
        folder = tls_dir(home, where)
        if not (folder / REVOKED).exists():
            _write_private(folder / REVOKED, _sign_revocations(home, [], _now_of(home)))
        aside = folder / f".{CURRENT}"
        aside.unlink(missing_ok=True)
        aside.symlink_to(str(number))  # relative: a stand may be moved
        aside.replace(folder / CURRENT)


def revoke_older(home: Path, now: dt.datetime) -> int:
    """Revoke every certificate of generations not in force and delete their keys; return how many."""
    older = [
        path
        for where in holders()
        for path in _generations(tls_dir(home, where))
        if path.name != os.readlink(tls_dir(home, where) / CURRENT)
    ]
    serials = [x509.load_pem_x509_certificate(crt.read_bytes()).serial_number for crt in _leaves(older)]
    known = x509.load_pem_x509_crl((tls_dir(home, Site.IDC) / REVOKED).read_bytes())
    still = [revoked.serial_number for revoked in known]
    # Of two lists of one second OpenSSL would keep the first; the stamp must grow.
    at = max(now - _BACKDATED, known.last_update_utc + dt.timedelta(seconds=1))
    revocations = _sign_revocations(home, [*still, *serials], at)
    for where in holders():
        _write_private(tls_dir(home, where) / REVOKED, revocations)
    for path in older:
        shutil.rmtree(path)
    return len(serials)


def authority_file(home: Path) -> Path:
    """Return the certificate of the authority that vouches for our processes."""
    return _authority(home, OURS, "crt")


def serials_in_force(home: Path) -> frozenset[int]:
    """Return the serial numbers of all certificates in force."""
    leaves = _leaves(tls_dir(home, where) / CURRENT for where in holders())
    return frozenset(x509.load_pem_x509_certificate(crt.read_bytes()).serial_number for crt in leaves)


def _leaves(folders: Iterable[Path]) -> list[Path]:
    return [crt for folder in folders for crt in folder.glob("*.crt") if crt.with_suffix(".key").exists()]


def _generations(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.name.isdigit()]


def _is_good(home: Path, where: str, kinds: Iterable[str], now: dt.datetime) -> bool:
    """Say whether every certificate of a place is there and valid for long enough."""
    folder = tls_dir(home, where)
    try:
        leaves = [
            x509.load_pem_x509_certificate((folder / CURRENT / f"{kind}.crt").read_bytes()) for kind in kinds
        ]
    except FileNotFoundError:
        return False
    return (folder / REVOKED).exists() and all(
        leaf.not_valid_after_utc - now > RENEW_BEFORE for leaf in leaves
    )


def _ensure_authority(home: Path, name: str, now: dt.datetime) -> None:
    if _authority(home, name, "crt").exists():
        return
    _authority(home, name, "key").parent.mkdir(mode=0o700, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Biyi stand authority {name}")])
    certificate = (
        _begun(f"Biyi stand authority {name}", subject, key.public_key(), now, AUTHORITY_VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **_KEY_USAGE), True
        )
        .sign(key, hashes.SHA256())
    )
    _write_private(_authority(home, name, "key"), _plain_key(key))
    _write_private(_authority(home, name, "crt"), certificate.public_bytes(serialization.Encoding.PEM))


def _begun(
    name: str,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    valid: dt.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, now + valid) - _BACKDATED)
        .not_valid_after(now + valid)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _sign_revocations(home: Path, serials: Iterable[int], at: dt.datetime) -> bytes:
    authority = x509.load_pem_x509_certificate(_authority(home, OURS, "crt").read_bytes())
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(at)
        .next_update(authority.not_valid_after_utc)  # a list that runs out would shut every door
        .add_extension(_issuer_id(authority), critical=False)
        .add_extension(x509.CRLNumber(int(at.timestamp())), critical=False)
    )
    for serial in dict.fromkeys(serials):
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()
        builder = builder.add_revoked_certificate(revoked)
    return builder.sign(_authority_key(home, OURS), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _now_of(home: Path) -> dt.datetime:
    """Return when the authority began: the first, empty list is older than all that follow."""
    return x509.load_pem_x509_certificate(_authority(home, OURS, "crt").read_bytes()).not_valid_before_utc


def _issuer_id(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    found = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def _authority(home: Path, name: str, suffix: str) -> Path:
    return home / "keys" / f"{name}.{suffix}"


def _authority_key(home: Path, name: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(_authority(home, name, "key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - we made it
    return key


def _plain_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, in one piece."""
    aside = path.with_name(f".{path.name}.tmp")
    aside.unlink(missing_ok=True)
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)
    aside.replace(path)
