"""The keys of platforms, by the package `cryptography`, which an extra brings."""

import hashlib
from typing import TYPE_CHECKING, Final

from runcast.errors import InvalidValue

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ("Decryptor", "is_p256", "load_ed25519", "make_p256", "verify_ed25519")


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


_BLOCK_BYTES: Final = 16


class Decryptor:
    """Decrypts what Feishu has encrypted: AES of 256 bits in CBC mode, after an initial vector.

    Args:
        key: the app's Encrypt Key; its SHA-256 is the key of AES.

    Raises:
        InvalidValue: `cryptography` is not installed.
    """

    def __init__(self, key: str) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.algorithms import AES
        except ImportError:
            raise InvalidValue(
                "an encrypt_key of Feishu needs the package cryptography: "
                "pip install 'runcast[feishu]'"
            ) from None
        self._algorithm = AES(hashlib.sha256(key.encode()).digest())

    def decrypt(self, data: bytes) -> bytes | None:
        """Return the plain bytes; None if they were not encrypted with this key."""
        if len(data) < 2 * _BLOCK_BYTES or len(data) % _BLOCK_BYTES:
            return None
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.modes import CBC

        work = Cipher(self._algorithm, CBC(data[:_BLOCK_BYTES])).decryptor()
        padded = work.update(data[_BLOCK_BYTES:]) + work.finalize()
        length = padded[-1]
        is_padded = 1 <= length <= _BLOCK_BYTES and padded.endswith(bytes([length]) * length)
        return padded[:-length] if is_padded else None
