"""Public addresses: reachable over the internet, not inside a private network.

The only definition in this project. Sources: the IANA IPv4 and IPv6 Special-Purpose Address
Registries (as of 2025-10-09) and the IANA IPv6 Address Space registry, which assigns unicast
addresses in 2000::/3 only. Not `ipaddress.is_global`, whose answer changes with the version of
Python.

An IPv6 address may embed the IPv4 address where a packet ends: through a translator (NAT64), a
tunnel (6to4, ISATAP) or the machine itself (IPv4-mapped). It is public only if that one is, too.

Differences from the registries:

1. Blocks that are globally reachable but name a service next to the caller are not public:
   192.0.0.9, 192.0.0.10, 2001:1::1 and 2001:1::2 are the caller's own router. So all of
   192.0.0.0/24 and 2001::/23 is refused, including Teredo, which embeds two addresses.
2. 64:ff9b::/96 and 2002::/16 are judged by the IPv4 address that they embed.
3. An operator's own NAT64 prefix looks like any other: the address behind it is unknown here.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ("Address", "Network", "is_public")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SPECIAL_IPV4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network: RFC 791
            "10.0.0.0/8",  # private use: RFC 1918
            "100.64.0.0/10",  # shared by the customers of a provider: RFC 6598
            "127.0.0.0/8",  # loopback: RFC 1122
            "169.254.0.0/16",  # link local, the metadata of clouds: RFC 3927
            "172.16.0.0/12",  # private use: RFC 1918
            "192.0.0.0/24",  # IETF protocol assignments: RFC 6890
            "192.0.2.0/24",  # documentation: RFC 5737
            "192.88.99.0/24",  # 6to4 relays, deprecated: RFC 7526
            "192.168.0.0/16",  # private use: RFC 1918
            "198.18.0.0/15",  # benchmarking: RFC 2544
            "198.51.100.0/24",  # documentation: RFC 5737
            "203.0.113.0/24",  # documentation: RFC 5737
            "224.0.0.0/4",  # multicast: RFC 5771
            "240.0.0.0/4",  # reserved, limited broadcast: RFC 1112, RFC 919
        ),
    )
)

_UNICAST_IPV6: Final = ipaddress.IPv6Network("2000::/3")
"""All else is reserved, or local: loopback, discard, SRv6, unique local, link
local, site local, multicast, IPv4-compatible, NAT64 for local use (64:ff9b:1::/48)."""

_SPECIAL_IPV6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments, Teredo, ORCHID: RFC 2928, RFC 4380
            "2001:db8::/32",  # documentation: RFC 3849
            "3fff::/20",  # documentation: RFC 9637
        ),
    )
)

_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
"""RFC 4291 §2.5.5.2: the machine itself sends to the IPv4 address."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052 §2.1: the answer of DNS64 in an IPv6-only network."""
_6TO4: Final = ipaddress.IPv6Network("2002::/16")
"""RFC 3056 §2: the 32 bits after the prefix."""
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})
"""RFC 5214 §6.1: an interface identifier with this beginning ends with an IPv4 address."""


def is_public(address: Address, besides: Iterable[Network] = ()) -> bool:
    """Return whether an address is public.

    Args:
        besides: networks that also count as public, also for an IPv4 address embedded in an IPv6
            address.
    """
    allowed = tuple(besides)
    if any(address in network for network in allowed):
        return True
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _SPECIAL_IPV4)
    is_unicast = address in _UNICAST_IPV6 or address in _MAPPED or address in _NAT64
    if not is_unicast or any(address in network for network in _SPECIAL_IPV6):
        return False
    return all(is_public(inner, allowed) for inner in _embedded(address))


def _embedded(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """Yield the IPv4 addresses where a packet to an address may end."""
    number = int(address)
    if address in _6TO4:
        yield ipaddress.IPv4Address(number >> 80 & 0xFFFFFFFF)
    if address in _MAPPED or address in _NAT64 or number >> 32 & 0xFFFFFFFF in _ISATAP:
        yield ipaddress.IPv4Address(number & 0xFFFFFFFF)
