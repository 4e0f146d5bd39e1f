"""Which addresses are dialled: decided where the connection is made, whatever the address is called."""

import socket
from ipaddress import ip_network

import aiohappyeyeballs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.auth import Bearer
from adapters.base import AdapterError, Blocked
from adapters.guard import AddressBlocked, AddressGuard
from tests.servers import answer, client, serving, speaking

SPECIAL = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
    "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 "
    "::/128 ::1/128 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001:db8::/32 2002::/16 3fff::/20 5f00::/16 "
    "fc00::/7 fe80::/10 fec0::/10 ff00::/8 ::ffff:127.0.0.1/128 ::ffff:10.0.0.0/104 ::127.0.0.1/128 "
    "2001::/32 "
    "2001:10::/28 ::ffff:0:127.0.0.1/128"
).split()
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.32.0.1",
    "100.128.0.1",
    "192.0.1.1",
    "2606:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "2620:4f:8000::1",
]


@pytest.mark.parametrize("network", SPECIAL)
def test_no_address_of_a_special_range_is_dialled(network: str) -> None:
    addresses = ip_network(network)
    for address in (addresses[0], addresses[-1], addresses[addresses.num_addresses // 2]):
        assert not AddressGuard().permits(str(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_dialled(address: str) -> None:
    assert AddressGuard().permits(address)


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_one_it_maps(address: object) -> None:
    assert AddressGuard().permits(f"::ffff:{address}") == AddressGuard().permits(str(address))


@pytest.mark.parametrize(
    "text", ["", "jira.example", "127.1", "0x7f000001", "fe80::1%eth0", "::1%lo", "1.1.1.1.1"]
)
def test_what_is_no_plain_public_address_is_not_dialled(text: str) -> None:
    assert not AddressGuard().permits(text)


def test_the_allowlist_opens_what_it_lists_and_no_more() -> None:
    guard = AddressGuard(["10.1.0.0/16", "192.168.7.7", "fd12:3456::/32"])
    assert all(
        map(guard.permits, ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "192.168.7.7", "fd12:3456::1"])
    )
    assert not any(
        map(guard.permits, ["10.0.255.255", "10.2.0.0", "192.168.7.8", "127.0.0.1", "fd12:3457::"])
    )


METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "fe80::a9fe:a9fe",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
]


@pytest.mark.parametrize("address", METADATA)
def test_metadata_services_stay_closed_to_every_allowlist(address: str) -> None:
    assert not AddressGuard(["0.0.0.0/0", "::/0"]).permits(address)
    assert not AddressGuard(["169.254.169.254/32", "fe80::/10", "64:ff9b::/96"]).permits(address)


def test_a_translated_address_needs_the_leave_for_the_one_behind_it_too() -> None:
    nat64 = AddressGuard(["64:ff9b::/96"])
    assert nat64.permits("64:ff9b::8.8.8.8")
    assert not nat64.permits("64:ff9b::10.0.0.1")
    assert AddressGuard(["64:ff9b::/96", "10.0.0.0/8"]).permits("64:ff9b::10.0.0.1")


@pytest.mark.parametrize("cidr", ["10.0.0.0/33", "private", "10.0.0.0-10.0.0.9", ""])
def test_what_is_no_network_is_refused_at_once(cidr: str) -> None:
    with pytest.raises(ValueError):
        AddressGuard([cidr])


LOOPBACK = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "0x7f000001",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::1]",
    "0.0.0.0",
    "[::]",
    "ⓛocalhost",
    "①②⑦.0.0.1",
]


@pytest.mark.parametrize("host", LOOPBACK)
async def test_no_name_of_the_own_machine_is_dialled(host: str) -> None:
    async with speaking(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as wire:
        async with client(f"http://{host}:{wire.port}", Bearer(lambda: "t"), allow=()) as http:
            with pytest.raises(Blocked):
                await http.get("/x")
        assert wire.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "[::ffff:127.0.0.1]"])
async def test_the_allowlist_opens_an_address_under_all_its_names(host: str) -> None:
    async with serving(answer()) as ours, client(f"http://{host}:{ours.port}") as http:
        assert (await http.get("/x")).status == 200


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "host", ["10.255.255.1", "192.168.255.1", "169.254.169.254", "[fd00::1]", "[fe80::1%25lo]"]
)
async def test_a_private_address_is_refused_before_any_attempt(scheme: str, host: str) -> None:
    async with client(f"{scheme}://{host}", Bearer(lambda: "t")) as http:
        with pytest.raises(Blocked) as caught:
            await http.get("/x")
    assert "TIDEGATE_ALLOW_NETWORKS" in caught.value.hint


async def test_a_host_that_has_only_blocked_addresses_is_blocked() -> None:
    stream = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    addresses = [
        (socket.AF_INET, *stream, ("10.0.0.1", 80)),
        (socket.AF_INET, *stream, ("127.0.0.1", 80)),
        (socket.AF_INET6, *stream, ("::1", 80, 0, 0)),
    ]
    for delay in (None, 0.01):
        with pytest.raises(AddressBlocked):
            await aiohappyeyeballs.start_connection(
                addresses, happy_eyeballs_delay=delay, socket_factory=AddressGuard().socket
            )


async def test_of_several_addresses_only_the_allowed_one_is_dialled() -> None:
    async with serving(answer()) as ours:
        stream = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        addresses = [
            (socket.AF_INET, *stream, ("127.0.0.2", ours.port)),
            (socket.AF_INET, *stream, ("127.0.0.1", ours.port)),
        ]
        got = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=0.01, socket_factory=AddressGuard(["127.0.0.1"]).socket
        )
        with got:
            assert got.getpeername() == ("127.0.0.1", ours.port)


async def test_a_refusal_tells_what_to_do_but_not_what_is_there() -> None:
    async with speaking(b"") as wire, client(f"http://127.0.0.1:{wire.port}", allow=()) as http:
        with pytest.raises(AdapterError) as caught:
            await http.get("/x")
    async with client("http://127.0.0.1:1", allow=()) as http:
        with pytest.raises(AdapterError) as closed:
            await http.get("/x")
    assert caught.value.message.replace(str(wire.port), "1") == closed.value.message
