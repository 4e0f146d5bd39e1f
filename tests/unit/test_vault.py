"""The vault: what opens, what does not, and what it says about it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.secret import Secret
from config.vault import Vault, VaultError

OLD = Secret("the old key of this vault")
NEW = Secret("the new key of this vault")
PLACE = "credentials/17/secret"
CANARY = "canary-51be77-plaintext"


def refusal(vault: Vault, sealed: str, place: str = PLACE) -> str:
    with pytest.raises(VaultError) as refused:
        vault.open(sealed, place)
    assert CANARY not in str(refused.value)
    assert refused.value.__cause__ is None
    return str(refused.value)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.text(alphabet="abc/17"))
def test_what_is_sealed_opens_at_its_place(text: str, place: str) -> None:
    vault = Vault([OLD])
    assert vault.open(vault.seal(text, place), place) == text


def test_equal_secrets_are_sealed_differently_and_do_not_show() -> None:
    vault = Vault([OLD])
    sealed = {vault.seal(CANARY, PLACE) for _ in range(100)}
    assert len(sealed) == 100
    assert not any(CANARY in each for each in sealed)


def test_a_secret_moved_to_another_row_does_not_open() -> None:
    vault = Vault([OLD])
    said = refusal(vault, vault.seal(CANARY, PLACE), "credentials/18/secret")
    assert said == "the secret at credentials/18/secret is damaged or was sealed for another place"


def test_no_single_changed_character_goes_unnoticed() -> None:
    vault = Vault([OLD])
    sealed = vault.seal(CANARY, PLACE)
    for at in range(len(sealed) - 1):
        changed = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
        refusal(vault, changed)


@pytest.mark.parametrize(
    "text", ["", CANARY, "v1..", f"v1.{CANARY}.x", "v1.0123456789ab.AAAA", "v1.0123456789ab.A"]
)
def test_what_is_no_sealed_secret_is_refused(text: str) -> None:
    assert "does not have the form" in refusal(Vault([OLD]), text)


def test_a_missing_key_is_named_by_its_id() -> None:
    sealed = Vault([OLD]).seal(CANARY, PLACE)
    said = refusal(Vault([NEW]), sealed)
    assert f"was sealed with key {sealed.split('.')[1]}" in said
    assert OLD.reveal() not in said
    assert NEW.reveal() not in said


def test_while_keys_change_all_open_and_the_first_seals() -> None:
    before, during, after = Vault([OLD]), Vault([NEW, OLD]), Vault([NEW])
    sealed = before.seal(CANARY, PLACE)
    assert during.needs_rotation(sealed)
    moved = during.seal(during.open(sealed, PLACE), PLACE)
    assert not during.needs_rotation(moved)
    assert after.open(moved, PLACE) == CANARY


def test_the_fingerprint_tells_keys_apart_and_stays_the_same() -> None:
    assert Vault([OLD]).fingerprint == Vault([Secret(OLD.reveal()), NEW]).fingerprint
    assert Vault([OLD]).fingerprint != Vault([NEW]).fingerprint
    assert Vault([OLD]).fingerprint == "35757c66f54820b012d299228963627e"


def test_a_database_of_the_old_key_is_known_during_a_rotation() -> None:
    assert Vault([NEW, OLD]).knows(Vault([OLD]).fingerprint)
    assert not Vault([NEW]).knows(Vault([OLD]).fingerprint)


def test_a_secret_sealed_by_an_earlier_release_still_opens() -> None:
    assert (
        Vault([OLD]).open(
            "v1.41d46f53b098.y9M1_LwsUKTg9c5tWtZ9rv6SSE3LI8dDePhEDL0lCCbkFZXrSwsLOqHoD_KP6S7k6qqFfnfhVns",
            PLACE,
        )
        == "kept since the first release"
    )


def test_every_opened_plaintext_is_told_and_a_failed_one_is_not() -> None:
    told: list[str] = []
    vault = Vault([OLD], on_reveal=told.append)
    sealed = vault.seal(CANARY, PLACE)
    refusal(vault, sealed, "elsewhere")
    assert told == []
    vault.open(sealed, PLACE)
    assert told == [CANARY]


def test_a_short_or_missing_key_is_refused() -> None:
    with pytest.raises(VaultError, match="at least 16 characters; this one has 15") as refused:
        Vault([Secret("hunter2hunter22")])
    assert "hunter2" not in str(refused.value)
    with pytest.raises(VaultError, match="at least one key"):
        Vault([])


def test_nothing_of_the_key_is_in_the_repr_of_a_vault() -> None:
    vault = Vault([OLD])
    assert OLD.reveal() not in repr(vault) + repr(vars(vault)) + vault.fingerprint
