"""Nothing is said before the remote has proved who it is."""

import asyncio
import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from adapters.auth import Bearer
from adapters.base import TlsFailed, Unavailable
from adapters.http import Limits
from tests.servers import answer, client, serving, speaking

AUTH = Bearer(lambda: "the-token")


class Authority:
    """A certificate authority that signs what a test needs."""

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        self.file = folder / f"{name}.pem"
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        own = self._built(self._name, self._key, [], days=10, ca=True)
        self.file.write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def server(self, host: str = "127.0.0.1", *, days: int = 10, chained: bool = True) -> ssl.SSLContext:
        """A server's side of TLS. `days` from now the certificate ends; unchained it signs itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
        try:
            alternative: x509.GeneralName = x509.IPAddress(ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        certificate = self._built(subject, key, [alternative], days=days, ca=False, chained=chained)
        file = self._folder / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context

    def _built(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        names: list[x509.GeneralName],
        *,
        days: int,
        ca: bool,
        chained: bool = True,
    ) -> x509.Certificate:
        end = datetime.now(UTC) + timedelta(days=days)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name if chained else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - timedelta(days=30))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key if chained else key, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextmanager
def tls_failure(reason: str) -> Iterator[None]:
    with pytest.raises(TlsFailed, match=reason) as caught:
        yield
    assert "127.0.0.1" in caught.value.message or "localhost" in caught.value.message


async def test_a_private_authority_named_by_the_operator_is_trusted(authority: Authority) -> None:
    ca_file = str(authority.file)
    async with serving(answer(), authority.server()) as ours, client(ours.url, ca_file=ca_file) as http:
        assert (await http.get("/x")).status == 200


async def test_an_authority_that_nobody_named_is_not_trusted(authority: Authority) -> None:
    async with serving(answer(), authority.server()) as ours, client(ours.url, AUTH) as http:
        with tls_failure("unable to get local issuer"):
            await http.get("/x")
        assert ours.seen == []


async def test_a_self_signed_certificate_is_refused(authority: Authority) -> None:
    async with serving(answer(), authority.server(chained=False)) as ours:
        async with client(ours.url, AUTH, ca_file=str(authority.file)) as http:
            with tls_failure("self-signed certificate"):
                await http.get("/x")
        assert ours.seen == []


async def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    async with serving(answer(), authority.server(days=-1)) as ours:
        async with client(ours.url, AUTH, ca_file=str(authority.file)) as http:
            with tls_failure("expired"):
                await http.get("/x")
        assert ours.seen == []


@pytest.mark.parametrize("named", ["10.9.8.7", "jira.example"])
async def test_a_certificate_for_another_host_is_refused(authority: Authority, named: str) -> None:
    async with serving(answer(), authority.server(named)) as ours:
        async with client(ours.url, AUTH, ca_file=str(authority.file)) as http:
            with tls_failure("mismatch"):
                await http.get("/x")
        assert ours.seen == []


async def test_a_host_is_known_by_its_name(authority: Authority) -> None:
    async with serving(answer(), authority.server("localhost")) as ours:
        base = f"https://localhost:{ours.port}"
        async with client(base, AUTH, ca_file=str(authority.file), allow=("127.0.0.0/8", "::1/128")) as http:
            assert (await http.get("/x")).status == 200


async def test_an_outdated_protocol_is_refused(authority: Authority) -> None:
    old = authority.server()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(answer(), old) as ours:
        async with client(ours.url, AUTH, ca_file=str(authority.file)) as http:
            # Some servers say why, others hang up.
            with pytest.raises((TlsFailed, Unavailable)):
                await http.get("/x")
        assert ours.seen == []


async def test_a_server_without_encryption_is_not_spoken_to_in_clear() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("a request arrived")

    async with speaking(babble) as wire:
        wire_url = f"https://127.0.0.1:{wire.port}"
        async with client(wire_url, AUTH, limits=Limits(connect=0.5, total=1.0)) as http:
            with pytest.raises(Unavailable):
                await http.get("/x")
        assert not any(b"the-token" in head for head in wire.heads)


async def test_an_answer_in_clear_to_a_greeting_is_a_tls_failure() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server, client(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", AUTH) as http:
        with pytest.raises(TlsFailed):
            await http.get("/x")


ASK = """
import asyncio, sys
from tests.servers import client

async def ask(url, ca_file):
    async with client(url, ca_file=ca_file) as http:
        print((await http.get("/x")).status)

asyncio.run(ask(*sys.argv[1:]))
"""


async def test_a_private_authority_stands_beside_those_of_the_system(tmp_path: Path) -> None:
    system, private = Authority(tmp_path, "system"), Authority(tmp_path, "private")
    for authority in (system, private):
        async with serving(answer(), authority.server()) as ours:
            # A process of its own: where the system's authorities are is read from the environment.
            asking = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                ASK,
                ours.url,
                str(private.file),
                env={**os.environ, "SSL_CERT_FILE": str(system.file)},
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await asking.communicate()
            assert out.strip() == b"200"
