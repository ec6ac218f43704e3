"""server.toml: what it may say, and that it is told exactly where it is wrong."""

import contextlib
import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.errors import ServerSettingsWrong
from tidegate.server.settings import FILE, FrontedSettings, Limits, OidcSettings, ServerSettings, load

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "server-toml.md"


def read(folder: Path, text: str) -> ServerSettings:
    (folder / FILE).write_text(text)
    return load(folder)


def test_a_home_without_one_listens_on_the_loopback_and_lets_nobody_in(tmp_path: Path) -> None:
    found = load(tmp_path)
    assert ServerSettings() == found
    assert ("127.0.0.1", 8765, ()) == (found.host, found.port, found.anonymous)


def test_the_example_of_the_page_is_understood(tmp_path: Path) -> None:
    example = PAGE.read_text().split("```toml\n")[1].split("```")[0]
    found = read(tmp_path, example)
    assert Path("/run/tidegate/doors.sock") == found.socket
    assert found.oidc is not None
    assert ("steward:team", "steward:org") == found.oidc.roles["model-stewards"]
    assert tmp_path / "keys/oidc-secret" == found.oidc.client_secret_file
    assert 8 == found.limits.session_hours


def test_every_setting_stands_on_the_page_and_no_other() -> None:
    documented = set(re.findall(r"^\| `(\w+)`(?:, `(\w+)`)?", PAGE.read_text(), flags=re.MULTILINE))
    there = {
        field.name for cls in (ServerSettings, OidcSettings, FrontedSettings, Limits) for field in fields(cls)
    }
    assert there - {"oidc", "fronted", "limits"} == {name for pair in documented for name in pair if name}


def test_a_socket_alone_is_enough(tmp_path: Path) -> None:
    assert read(tmp_path, 'listen = ""\nsocket = "/run/s"').listen is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("listen = [", "cannot be read"),
        ("lisen = 'x'", "lisen is no setting"),
        ("listen = 8080", "listen has to be a text"),
        ("listen = 'localhost'", "write host:port"),
        ("listen = '127.0.0.1:99999'", "write host:port"),
        ("listen = ''", "nobody could reach"),
        ("certificate = 'a.pem'", "belong together"),
        ("public_url = 'models.example'", "write https://name"),
        ("public_url = 'https://models.example/path'", "without a path"),
        ("public_url = 'https://user@models.example'", "write https://name"),
        ("public_url = 'https://models.example:no'", "write https://name"),
        ("accelerate = '/x/'", "works over a socket only"),
        ("anonymous = ['root']", "anonymous"),
        ("anonymous = 'viewer'", "list of texts"),
        ("default_tier = 'latest'", "default_tier"),
        ("limits = 3", "[limits] has to be a table"),
        ("[limits]\nsession_hours = 0", "limits.session_hours has to be at least 1"),
        ("[limits]\nidle_minutes = 1000000000000000", "limits.idle_minutes has to be at least 1 and at most"),
        ("[limits]\nsession_hours = true", "limits.session_hours has to be a whole number"),
        ("[oidc]\nissuer = 'https://x'", "oidc.client_id is missing"),
        ("[oidc]\nissuer = 'https://x'\nclient_id = 'y'\n[oidc.roles]\nall = ['king']", "oidc.roles.all"),
        ("[oidc]\nissuer = 'https://x'\nclient_id = 'y'\nroles = ['a']", "oidc.roles has to name groups"),
        ("[fronted]\nuser_header = 'X-User'", "needs a socket"),
        ("socket = '/run/s'\n[fronted]\nuser = 'X-User'", "fronted.user is no setting"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ServerSettingsWrong, match=re.escape(problem)) as caught:
        read(tmp_path, text)
    assert str(tmp_path / FILE) in str(caught.value)


@pytest.mark.property
@given(st.dictionaries(st.sampled_from([f.name for f in fields(ServerSettings)]), st.one_of(
    st.text(st.characters(codec="ascii", exclude_characters="'\n\r\\", min_codepoint=32), max_size=20), st.integers(), st.booleans(),
), max_size=6))  # fmt: skip
def test_no_value_makes_it_break(tmp_path_factory: pytest.TempPathFactory, values: dict[str, object]) -> None:
    lines = (
        f"{name} = {value!r}".replace("True", "true").replace("False", "false")
        for name, value in values.items()
    )
    folder = tmp_path_factory.mktemp("any")
    with contextlib.suppress(ServerSettingsWrong):
        assert isinstance(read(folder, "\n".join(lines)), ServerSettings)
