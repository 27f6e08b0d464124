"""The push service for tests, called by pywebpush: a second party that knows the standards."""

import json

import pytest
from pywebpush import WebPushException, webpush

from runcast.testing import FakeWebPush

pytestmark = pytest.mark.heavy  # it imports a large library


def test_the_push_service_for_tests_understands_another_sender() -> None:
    with FakeWebPush() as push:
        claims: dict[str, str | int] = {"sub": "mailto:me@example.org"}
        said = json.dumps({"title": "it is done", "tag": "1"})
        answer = webpush(
            json.loads(push.subscription), said, push.private_key, dict(claims), ttl=60
        )
        assert getattr(answer, "status_code", None) == 201
        assert push.shown("browser") == ["it is done"]
        push.is_gone = True
        with pytest.raises(WebPushException, match="410"):
            webpush(json.loads(push.subscription), said, push.private_key, dict(claims), ttl=60)
