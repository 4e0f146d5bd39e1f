"""Which network addresses may be dialled: public ones, and the private networks the operator allows.

The check sits in the connector's socket factory, so it sees the very address that is dialled: after the
DNS answer, for IP literals in any spelling, for every redirect.
"""

import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohappyeyeballs import AddrInfoType

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What the IANA registries keep for special uses: in IPv4 loopback, private, shared, link-local,
# documentation, benchmarking, multicast and reserved ranges; in IPv6 all but global unicast (2000::/3),
# and of that the ranges for protocols, documentation and tunnels.
_DENIED: tuple[Network, ...] = tuple(
    ip_network(n)
    for n in (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 "
        "192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 "
        "224.0.0.0/4 240.0.0.0/4 ::/3 4000::/2 8000::/1 2001::/23 2001:db8::/32 2002::/16 3fff::/20"
    ).split()
)
# Where clouds hand credentials to their machines; no allowlist opens these. Link-local, then
# Azure, Alibaba, Oracle, and the IPv6 ones of AWS, Google and Scaleway.
_NEVER: tuple[Network, ...] = tuple(
    ip_network(n)
    for n in (
        "169.254.0.0/16 fe80::/10 168.63.129.16 100.100.100.200 192.0.0.192 "
        "fd00:ec2::254 fd20:ce::254 fd00:42::42"
    ).split()
)
# IPv6 ranges whose last 32 bits are the IPv4 address that answers in the end.
_TRANSLATED: tuple[Network, ...] = tuple(ip_network(n) for n in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48"))


class AddressBlocked(OSError):
    """The address is private or special and the operator did not allow it."""


class AddressGuard:
    """Says which addresses may be dialled; `socket` is what a connector is given."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        """`allow` are CIDRs of private networks. Raises ValueError for what is no network."""
        self._allow: Sequence[Network] = [ip_network(cidr, strict=False) for cidr in allow]

    def permits(self, host: str) -> bool:
        """Whether an IP address, as text, may be dialled; False for what is no IP address."""
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return all(self._permits(face) for face in _faces(address))

    def admits(self, name: str) -> bool:
        """Whether a host may be named to a proxy, which resolves and dials it out of our sight.

        False for a denied address in any spelling that a resolver takes, and for localhost.
        """
        name = name.rstrip(".").lower()
        if name == "localhost" or name.endswith(".localhost"):
            return self.permits("127.0.0.1")
        if ":" in name:
            return self.permits(name)
        try:
            return self.permits(socket.inet_ntoa(socket.inet_aton(name)))
        except OSError:
            return True

    def socket(self, addr_info: AddrInfoType) -> socket.socket:
        """A socket for this address. Raises `AddressBlocked` before anything is sent."""
        family, kind, proto, _, address = addr_info
        if not self.permits(str(address[0])):
            # One text for all addresses: several errors of a host are only merged into one if they are equal.
            raise AddressBlocked("a private or special address is not allowed")
        return socket.socket(family=family, type=kind, proto=proto)

    def _permits(self, address: Address) -> bool:
        if _within(address, _NEVER):
            return False
        return not _within(address, _DENIED) or _within(address, self._allow)


def _faces(address: Address) -> list[Address]:
    """The address, and the IPv4 address behind it; a mapped one is only another spelling of the latter."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    behind = address.sixtofour
    if _within(address, _TRANSLATED):
        behind = IPv4Address(int(address) & 0xFFFFFFFF)
    return [address, behind] if behind else [address]


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
