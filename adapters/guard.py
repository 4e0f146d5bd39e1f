"""Which network addresses may be dialled: public ones, and the private networks the operator allows.

The check sits in the connector's socket factory, so it sees the very address that is dialled: after the
DNS answer, for IP literals in any spelling, for every redirect.
"""

import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohappyeyeballs import AddrInfoType

Network = IPv4Network | IPv6Network

# The special ranges of the IANA registries: loopback, private, shared, link-local, documentation,
# benchmarking, multicast, reserved, and the IPv6 ranges that embed or translate IPv4.
_DENIED: tuple[Network, ...] = tuple(
    ip_network(n)
    for n in (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 "
        "192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 "
        "224.0.0.0/4 240.0.0.0/4 ::/127 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/23 "
        "2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8"
    ).split()
)
# Cloud metadata services live on link-local addresses; no allowlist opens these.
_NEVER: tuple[Network, ...] = tuple(
    ip_network(n) for n in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32")
)


class AddressBlocked(OSError):
    """The address is private or special and the operator did not allow it."""


class AddressGuard:
    """Says which addresses may be dialled; `socket` is what a connector is given."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        """`allow` are CIDRs of private networks. Raises ValueError for what is no network."""
        self._allow: Sequence[Network] = [ip_network(cidr, strict=False) for cidr in allow]

    def permits(self, host: str) -> bool:
        """Whether an IP address, as text, may be dialled."""
        address = _plain(ip_address(host.partition("%")[0]))
        if _within(address, _NEVER):
            return False
        return not _within(address, _DENIED) or _within(address, self._allow)

    def socket(self, addr_info: AddrInfoType) -> socket.socket:
        """A socket for this address. Raises `AddressBlocked` before anything is sent."""
        family, kind, proto, _, address = addr_info
        if not self.permits(str(address[0])):
            raise AddressBlocked(f"the address {address[0]} is not public")
        return socket.socket(family=family, type=kind, proto=proto)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _within(address: IPv4Address | IPv6Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
