"""Deliveries to a browser that has subscribed to notifications.

from runcast.channels import webpush

browser = webpush.to_browser(subscription, private_key=KEY, contact="mailto:me@example.org")
delivery = await hub.deliver(run_id, browser)
"""

from collections.abc import Mapping
from typing import Any

from runcast.channels.platforms.webpush import WebPush

__all__ = ("to_browser",)


def to_browser(
    subscription: str | Mapping[str, Any], *, private_key: str, contact: str, link: str = ""
) -> WebPush:
    """Return a channel to a browser.

    Push services in private networks are refused, because the browser names the address.

    Args:
        subscription: what `PushManager.subscribe()` gave, as JSON or parsed.
        private_key: of the pair with whose public key the browser has subscribed, base64url.
        contact: `mailto:…` or `https://…`, by which the push service reaches you.
        link: opened by a tap; `{run_id}` stands for the run's id.

    Raises:
        InvalidValue: an argument is malformed, or the extra `webpush` is not installed.
    """
    return WebPush(subscription, private_key=private_key, contact=contact, link=link)
