"""Signatures of outgoing webhooks, against the vector that the libraries of Standard Webhooks test with."""

from base64 import b64encode
from datetime import UTC, datetime

import pytest

from events.signature import headers, key_of, new_secret

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = datetime.fromtimestamp(1614265330, UTC)
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_known_vector_is_signed_as_it_is_known() -> None:
    assert headers([SECRET], ID, AT, BODY) == {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_two_secrets_sign_beside_each_other() -> None:
    first, second = headers([new_secret(), SECRET], ID, AT, BODY)["webhook-signature"].split(" ")
    assert second == SIGNATURE
    assert first.startswith("v1,")
    assert first != second


def test_a_new_secret_is_as_receivers_take_it_and_each_is_another() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert {len(key_of(one)) for one in made} == {32}


@pytest.mark.parametrize("length", [24, 64])
def test_secrets_of_the_lengths_that_are_specified_are_taken(length: int) -> None:
    assert key_of("whsec_" + b64encode(bytes(length)).decode()) == bytes(length)


@pytest.mark.parametrize(
    "text",
    [
        *("", "whsec_", "secret", "whsec_!!!!", SECRET.removeprefix("whsec_")),
        "whsec_" + b64encode(bytes(23)).decode(),
        "whsec_" + b64encode(bytes(65)).decode(),
        SECRET + "\n",
        "whsec_\xe9",
    ],
)
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 random bytes"):
        key_of(text)
