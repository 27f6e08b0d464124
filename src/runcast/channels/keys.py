"""The keys of platforms, by the package `cryptography`, which an extra brings."""

from typing import TYPE_CHECKING

from runcast.errors import InvalidValue

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ("is_p256", "load_ed25519", "make_p256", "verify_ed25519")


def load_ed25519(key: bytes) -> "Ed25519PublicKey":
    """Return a public key of Ed25519 from its 32 bytes.

    Raises:
        InvalidValue: the bytes are not such a key, or `cryptography` is not installed.
    """
    try:
        # Here, because it is an extra, and takes long to import.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise InvalidValue(
            "signatures of Discord need the package cryptography: pip install 'runcast[discord]'"
        ) from None
    try:
        return Ed25519PublicKey.from_public_bytes(key)
    except ValueError:
        raise InvalidValue("expected a public key of Ed25519: 32 bytes") from None


def verify_ed25519(key: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether a signature is that of a message under a public key (RFC 8032).

    False for a malformed key.

    Raises:
        InvalidValue: `cryptography` is not installed.
    """
    if len(key) != 32:
        return False
    public = load_ed25519(key)
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def make_p256() -> "EllipticCurvePrivateKey":
    """Return a new private key of P-256. `cryptography` must be installed."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def is_p256(key: bytes) -> bool:
    """Return whether bytes are a public key of P-256, uncompressed. `cryptography` must be
    installed."""
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
    except ValueError:
        return False
    return len(key) == 65
