"""A declared file is read as a whole: variables, secrets, and everything wrong with it at once."""

from pathlib import Path

import pytest

from config.declared import DeclarationError, Declared, load
from config.secret import Secret


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "connections.toml"


def read(file: Path, text: str, **environ: str) -> Declared:
    file.write_text(text, "utf-8")
    return load(file, environ)


def wrong(file: Path, text: str, **environ: str) -> dict[str, str]:
    """What is wrong, by place."""
    return {one.place: one.message for one in read(file, text, **environ).wrong}


CONNECTION = '[connections.payments]\nsystem = "jira"\n'
CREDENTIAL = '[credentials.jira]\nsystem = "jira"\n'


def test_every_field_is_read(file: Path) -> None:
    declared = read(
        file,
        """
        set = "team"
        [projects.pay]
        name = "Payments"
        [credentials.jira]
        system = "jira"
        username = "a@example.com"
        secret = "s3cret"
        [connections.payments]
        name = "Payments EU"
        system = "jira"
        url = "x.atlassian.net/issues/?filter=1"
        credential = "jira"
        project = "pay"
        frequency = "Every 15 minutes"
        timezone = "Europe/Berlin"
        streams = ["issues"]
        params = { since = 2025-01-01, deep = { jql = "a" } }
        enabled = false
        webhook_secret = "hook"
        """,
    )
    assert declared.wrong == ()
    assert declared.set == "team"
    (credential,) = declared.credentials
    assert (credential.name, credential.kind, credential.secret) == ("jira", "basic", Secret("s3cret"))
    (one,) = declared.connections
    assert (one.label, one.name, one.frequency, one.enabled) == (
        "payments", "Payments EU", "every 15m", False,
    )  # fmt: skip
    assert one.params == {"since": "2025-01-01", "deep": {"jql": "a"}}
    assert one.webhook_secret == Secret("hook")


def test_what_is_left_out_has_the_defaults_of_the_api(file: Path) -> None:
    (one,) = read(file, CONNECTION).connections
    assert (one.name, one.frequency, one.timezone, one.params) == ("payments", "hourly", "UTC", {})
    assert (one.url, one.credential, one.streams, one.enabled, one.webhook_secret) == (None,) * 5
    assert one.debug is None


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ('secret = "s"', "pat"),
        ('secret = "s"\nusername = "u"', "basic"),
        ('secret = "s"\ntoken_url = "https://login.example/t"', "oauth2"),
        ('kind = "anonymous"', "anonymous"),
    ],
)
def test_a_credential_is_of_the_kind_that_its_fields_mean(file: Path, fields: str, kind: str) -> None:
    (one,) = read(file, CREDENTIAL + fields).credentials
    assert one.kind == kind


@pytest.mark.parametrize(
    ("written", "environ", "read_as"),
    [
        ("https://${SITE}/x", {"SITE": "a.example"}, "https://a.example/x"),
        ("${SITE:-b.example}", {}, "b.example"),
        ("${SITE:-b.example}", {"SITE": ""}, "b.example"),
        ("${SITE:-b.example}", {"SITE": "a.example"}, "a.example"),
        ("$${SITE} $SITE ${A}${A}", {"A": "1"}, "${SITE} $SITE 11"),
        ("${A}", {"A": "${B}", "B": "no"}, "${B}"),
    ],
)
def test_a_variable_stands_for_its_value(
    file: Path, written: str, environ: dict[str, str], read_as: str
) -> None:
    declared = read(file, f'{CONNECTION}url = "{written}"', **environ)
    assert declared.wrong == ()
    assert declared.connections[0].url == read_as


def test_variables_are_filled_in_within_lists_and_tables_and_for_yes_and_no(file: Path) -> None:
    text = f'{CONNECTION}streams = ["${{S}}"]\nparams = {{ jql = "project = ${{P}}" }}\nenabled = "${{ON}}"'
    (one,) = read(file, text, S="issues", P="TG", ON="false").connections
    assert (one.streams, one.params, one.enabled) == (["issues"], {"jql": "project = TG"}, False)


def test_an_unset_variable_is_named_with_its_place(file: Path) -> None:
    text = f'{CONNECTION}url = "${{SITE}}/x"\nparams = {{ jql = "${{QUERY}}" }}'
    found = wrong(file, text, QUERY="")
    assert set(found) == {"connections.payments.url", "connections.payments.params.jql"}
    assert "SITE is not set" in found["connections.payments.url"]
    assert "QUERY is not set, or empty" in found["connections.payments.params.jql"]


def test_a_default_of_nothing_leaves_the_field_out(file: Path) -> None:
    declared = read(file, f'{CONNECTION}project = "${{PROJECT:-}}"')
    assert (declared.wrong, declared.connections[0].project) == ((), None)


def test_a_variable_that_is_misspelt_is_not_taken_for_text(file: Path) -> None:
    assert "written ${NAME}" in wrong(file, f'{CONNECTION}url = "${{1x}}"')["connections.payments.url"]
    assert "written ${NAME}" in wrong(file, f'{CONNECTION}url = "${{SITE"')["connections.payments.url"]


def test_a_secret_comes_from_a_variable_or_from_a_file_beside_the_declarations(file: Path) -> None:
    (file.parent / "jira.token").write_text("from the file\n")
    declared = read(
        file,
        f'{CREDENTIAL}secret_file = "jira.token"\n[credentials.b]\nsystem = "jira"\nsecret_env = "TOKEN"',
        TOKEN="from the variable",
    )
    assert declared.wrong == ()
    assert [one.secret for one in declared.credentials] == [
        Secret("from the file"), Secret("from the variable"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "place", "said"),
    [
        ('secret_env = "TOKEN"', "secret_env", "TOKEN is not set"),
        ('secret_file = "none.token"', "secret_file", "cannot be read"),
        ('secret_file = "empty.token"', "secret_file", "is empty"),
        ('secret = "a"\nsecret_env = "B"', "secret", "Give one of secret, secret_env"),
        ('secret = "********"', "secret", "leave it out"),
        ("secret = 12345678", "secret", "A text is needed"),
    ],
)
def test_a_secret_that_cannot_be_had_is_said_with_its_field(
    file: Path, field: str, place: str, said: str
) -> None:
    (file.parent / "empty.token").write_text("\n")
    assert said in wrong(file, CREDENTIAL + field)[f"credentials.jira.{place}"]


def test_no_complaint_repeats_what_may_be_a_secret(file: Path) -> None:
    text = 'set = 5\n[credentials.jira]\nsystem = "hunter2 hunter2"\nkind = "hunter2"\nsecret = ["hunter2"]'
    found = wrong(file, f'{text}\n[connections.payments]\nsystem = "jira"\nstreams = "hunter2"')
    assert len(found) == 5
    assert "hunter2" not in str(found)


def test_the_repr_of_what_was_read_shows_no_secret(file: Path) -> None:
    text = f'{CREDENTIAL}secret = "hunter2"\n{CONNECTION}webhook_secret = "hunter3"'
    assert "hunter" not in repr(read(file, text))


def test_a_variable_whose_name_says_so_is_a_secret_wherever_it_stands(file: Path) -> None:
    declared = read(file, f'{CONNECTION}url = "x.example/?k=${{JIRA_TOKEN}}"', JIRA_TOKEN="hunter2")
    assert declared.secrets == (Secret("hunter2"),)


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (CONNECTION + 'frequancy = "daily"', "connections.payments.frequancy", "Did you mean frequency?"),
        (CONNECTION + 'frequency = "often"', "connections.payments.frequency", "allowed are manually"),
        (CONNECTION + 'timezone = "Mars"', "connections.payments.timezone", "Europe/Berlin"),
        (CONNECTION + 'streams = "issues"', "connections.payments.streams", "A list of texts"),
        (CONNECTION + 'params = "jql"', "connections.payments.params", "A table is needed"),
        (CONNECTION + 'enabled = "yes"', "connections.payments.enabled", "true or false is needed"),
        (CONNECTION + "credential = 3", "connections.payments.credential", "and not a number"),
        ("[connections.payments]", "connections.payments.system", "jira, jenkins or azure"),
        ('[connections."EU 1"]', 'connections."EU 1".system', "jira, jenkins or azure"),
        ('[connections."  "]\nsystem = "jira"', 'connections."  "', "1 to 200 characters"),
        (CONNECTION + f'name = "{"x" * 201}"', "connections.payments.name", "1 to 200 characters"),
        (CREDENTIAL + 'kind = "token"', "credentials.jira.kind", "basic, bearer, pat"),
        ('[connection.payments]\nsystem = "jira"', "connection", "Did you mean connections?"),
        ("connections = 3", "connections", "[connections.name]"),
        ("[connections]\npayments = 3", "connections.payments", "written as a table"),
        (
            f'{CONNECTION}[connections.b]\nsystem = "jira"\nname = "payments"',
            "connections.b.name",
            "one of its own",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_what_would_work(
    file: Path, text: str, place: str, said: str
) -> None:
    assert said in wrong(file, text)[place]


def test_all_that_is_wrong_is_said_at_once(file: Path) -> None:
    text = """
        [credentials.jira]
        kind = "magic"
        secret_env = "NOWHERE"
        [connections.payments]
        system = "jira"
        frequency = "often"
        timezone = "Mars"
        colour = "blue"
    """
    assert set(wrong(file, text)) == {
        "credentials.jira.system",
        "credentials.jira.kind",
        "credentials.jira.secret_env",
        "connections.payments.frequency",
        "connections.payments.timezone",
        "connections.payments.colour",
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = \n", "is not a TOML file"),
        (b"\xff", "UTF-8"),
        (b"[credentials.a]\nsecret = hunter2\n", "line 2"),
    ],
)
def test_a_file_that_is_no_toml_is_said_so_without_its_content(file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    with pytest.raises(DeclarationError, match=said) as raised:
        load(file, {})
    assert "hunter2" not in str(raised.value)
