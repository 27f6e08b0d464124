"""What is public: what the registries call so, and nothing inside of somebody's network."""

from ipaddress import IPv6Address, ip_address, ip_network

import pytest

from runcast._addresses import is_public

# Source: the IANA special-purpose address registries of 2025-10-09; what is not "True" there under
# "Globally Reachable", and multicast, reserved and site-local blocks of the address spaces.
# fmt: off
NOT_PUBLIC = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
    "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    "255.255.255.255/32", "::/128", "::1/128", "::/96", "::ffff:0:0:0/96",
    "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "200::/7", "400::/6",
    "2001::/23", "2001::/32", "2001:2::/48", "2001:10::/28", "2001:db8::/32",
    "3fff::/20", "4000::/3", "5f00::/16", "fc00::/7", "fe00::/9",
    "fe80::/10", "fec0::/10", "ff00::/8",
]
# fmt: on

# fmt: off
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255",
    "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0",
    "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "192.31.196.1",
    "192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
    "198.20.0.0", "223.255.255.255", "2000::", "2001:200::", "2001:db7:ffff::1",
    "2001:db9::", "2001:4860:4860::8888", "2606:4700:4700::1111", "2620:4f:8000::1",
    "2a00:1450:4001:81b::200e",
    "3ffe:ffff::1", "3fff:1000::",
]
# fmt: on


@pytest.mark.parametrize("block", NOT_PUBLIC)
def test_no_address_of_a_special_block_is_public(block: str) -> None:
    network = ip_network(block)

    for address in (network[0], network[-1], network[network.num_addresses // 2]):
        assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_lies_beside_the_special_blocks_is_public(address: str) -> None:
    assert is_public(ip_address(address))


def embeddings(given: str) -> list[IPv6Address]:
    """Return the IPv6 addresses by which an IPv4 address is reached from here."""
    number = int(ip_address(given))
    return [
        IPv6Address((0xFFFF << 32) + number),
        IPv6Address((0x64FF9B << 96) + number),
        IPv6Address((0x2002 << 112) + (number << 80)),
        IPv6Address((0x2002 << 112) + (number << 80) + 1),
        IPv6Address((0x26064700 << 96) + (0x5EFE << 32) + number),
        IPv6Address((0x26064700 << 96) + (0x02005EFE << 32) + number),
    ]


@pytest.mark.parametrize("inner", ["10.0.0.1", "127.0.0.1", "169.254.169.254", "224.0.0.1"])
def test_an_address_is_not_public_that_embeds_one_that_is_not(inner: str) -> None:
    assert [is_public(address) for address in embeddings(inner)] == [False] * 6


def test_an_address_is_public_that_embeds_one_that_is() -> None:
    assert [is_public(address) for address in embeddings("8.8.8.8")] == [True] * 6


def test_what_an_address_embeds_may_be_allowed() -> None:
    allowed = [ip_network("10.0.0.0/8")]

    assert all(is_public(address, allowed) for address in embeddings("10.1.2.3"))
    assert not any(is_public(address, allowed) for address in embeddings("192.168.0.1"))


def test_both_addresses_count_that_one_embeds() -> None:
    inside_6to4 = IPv6Address("2002:808:808::5efe:a00:1")

    assert not is_public(inside_6to4)
    assert is_public(inside_6to4, [ip_network("10.0.0.1/32")])


@pytest.mark.parametrize("address", ["fec0::1", "64:ff9b:1::a00:1", "2001:0:1::1", "::a00:1"])
def test_a_network_of_ipv6_may_be_allowed(address: str) -> None:
    assert is_public(ip_address(address), [ip_network(f"{address}/128")])
