"""Events as Feishu sends them: encrypted, and signed."""

import base64
import hashlib
import json

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC


def encrypted(event: object, key: str, now: float) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a request."""
    plain, vector = json.dumps(event).encode(), bytes(range(16))
    padding = 16 - len(plain) % 16
    work = Cipher(AES(hashlib.sha256(key.encode()).digest()), CBC(vector)).encryptor()
    data = vector + work.update(plain + bytes([padding]) * padding) + work.finalize()
    body = json.dumps({"encrypt": base64.b64encode(data).decode()}).encode()
    sent_at, nonce = str(int(now)), "n0nce"
    signed = (sent_at + nonce + key).encode() + body
    headers = {
        "x-lark-request-timestamp": sent_at,
        "x-lark-request-nonce": nonce,
        "x-lark-signature": hashlib.sha256(signed).hexdigest(),
    }
    return headers, body
