"""`/v2/`: container clients that know nothing of us pull models, and get nothing that the tiers would not give them."""

import base64
import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from pipelines.images.ollama import MANIFEST as DOCKER
from pipelines.images.papers import CYCLONEDX, FILES, IN_TOTO, PREDICATE, SIGSTORE_BUNDLE
from registry.home import load
from signing.digests import file_sha256, sha256_hex
from signing.envelope import Envelope, verify
from signing.statements import PROVENANCE, read_statement
from tests.programs import program
from tests.server.hub_world import MODEL, NOW, HubWorld
from tests.server_world import Served, door, served
from tests.world import at_work

if TYPE_CHECKING:
    from starlette.testclient import TestClient

OCI = "application/vnd.oci.image.manifest.v1+json"
TITLE = "org.opencontainers.image.title"
V2 = f"/v2/{MODEL}"


@pytest.fixture(scope="module")
def world(built_hub: HubWorld, tmp_path_factory: pytest.TempPathFactory) -> HubWorld:
    """Team served 1 and serves 2, edge serves 2, nobody promoted 3."""
    return built_hub.copied(tmp_path_factory.mktemp("harbour"))


@pytest.fixture(scope="module")
def viewer(world: HubWorld) -> str:
    return world.token("vera", "viewer")


@pytest.fixture(scope="module")
def client(world: HubWorld, viewer: str) -> Iterator["TestClient"]:
    with door(world.home, token=viewer) as found:
        yield found


@contextmanager
def somebody(world: HubWorld, name: str, grants: str) -> Iterator["TestClient"]:
    with door(world.home, token=world.token(name, grants)) as found:
        yield found


@pytest.fixture(scope="module")
def running(world: HubWorld) -> Iterator[Served]:
    """The real process; what edge serves is open to everybody."""
    settings = world.home / "server.toml"
    settings.write_text('anonymous = ["viewer:edge"]\n')
    with served(world.home) as found:
        settings.unlink()  # it has been read
        yield found


def refusal(response: Any) -> tuple[int, str]:
    """The status and the specification's code."""
    [error] = response.json()["errors"]
    assert error["message"]
    return response.status_code, error["code"]


def image(client: "TestClient", tag: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{V2}/manifests/{tag}", headers={"accept": OCI}).json()
    return found


class TestImages:
    def test_a_tier_a_number_and_a_digest_are_one_image(self, client: "TestClient", world: HubWorld) -> None:
        answers = [
            client.get(f"{V2}/manifests/{tag}", headers={"accept": OCI}) for tag in ("team", "edge", "2")
        ]
        digest = answers[0].headers["docker-content-digest"]
        answers.append(client.get(f"{V2}/manifests/{digest}"))
        for answer in answers:
            assert answer.status_code == 200
            assert answer.headers["content-type"] == OCI
            assert answer.headers["docker-content-digest"] == f"sha256:{sha256_hex(answer.content)}" == digest
        layers = {item["annotations"][TITLE]: item["digest"][7:] for item in answers[0].json()["layers"]}
        assert layers == world.files(2)

    def test_every_part_of_an_image_comes_under_its_digest(self, client: "TestClient") -> None:
        found = image(client, "team")
        for part in (found["config"], *found["layers"]):
            answer = client.get(f"{V2}/blobs/{part['digest']}")
            assert (
                f"sha256:{sha256_hex(answer.content)}"
                == part["digest"]
                == answer.headers["docker-content-digest"]
            )
            head = client.head(f"{V2}/blobs/{part['digest']}")
            assert (head.status_code, head.content) == (200, b"")
            assert int(head.headers["content-length"]) == part["size"] == len(answer.content)

    def test_head_of_a_manifest(self, client: "TestClient") -> None:
        head = client.head(f"{V2}/manifests/team")
        assert (head.status_code, head.content, head.headers["content-type"]) == (200, b"", OCI)

    def test_a_range_of_a_file(self, client: "TestClient", world: HubWorld) -> None:
        path = f"{V2}/blobs/sha256:{world.files(2)['model.gguf']}"
        whole = client.get(path).content
        part = client.get(path, headers={"range": "bytes=1000-1999"})
        assert (part.status_code, part.content) == (206, whole[1000:2000])
        assert part.headers["content-range"] == f"bytes 1000-1999/{len(whole)}"
        beyond = client.get(path, headers={"range": f"bytes={len(whole)}-"})
        assert beyond.status_code == 416

    def test_who_comes_late_is_warned(self, client: "TestClient") -> None:
        answer = client.get(f"{V2}/manifests/1")
        assert answer.status_code == 200
        assert answer.headers["warning"].startswith('299 - "superseded: team serves 2')

    def test_tags_in_pages(self, client: "TestClient") -> None:
        assert client.get(f"{V2}/tags/list").json() == {"name": MODEL, "tags": ["1", "2", "edge", "team"]}
        found: list[str] = []
        path: str | None = f"{V2}/tags/list?n=3"
        while path:
            answer = client.get(path)
            found += answer.json()["tags"]
            path = answer.links.get("next", {}).get("url")
        assert found == ["1", "2", "edge", "team"]
        assert client.get(f"{V2}/tags/list?n=0").json()["tags"] == []
        assert client.get(f"{V2}/tags/list?last=zz").json()["tags"] == []


class TestReferrers:
    def test_everything_attested_is_there_and_verifies(self, client: "TestClient", world: HubWorld) -> None:
        digest = client.get(f"{V2}/manifests/team").headers["docker-content-digest"]
        listed = client.get(f"{V2}/referrers/{digest}").json()["manifests"]
        assert {one["artifactType"] for one in listed} == {FILES, IN_TOTO, CYCLONEDX, SIGSTORE_BUNDLE}
        for one in listed:
            answer = client.get(f"{V2}/manifests/{one['digest']}")
            assert f"sha256:{sha256_hex(answer.content)}" == one["digest"]
            assert answer.json()["subject"]["digest"] == digest
            for part in (answer.json()["config"], *answer.json()["layers"]):
                data = client.get(f"{V2}/blobs/{part['digest']}").content
                assert f"sha256:{sha256_hex(data)}" == part["digest"]

    def test_provenance_is_signed_by_this_home(self, client: "TestClient", world: HubWorld) -> None:
        digest = client.get(f"{V2}/manifests/team").headers["docker-content-digest"]
        listed = client.get(f"{V2}/referrers/{digest}", params={"artifactType": IN_TOTO})
        assert listed.headers["oci-filters-applied"] == "artifactType"
        assert {one["artifactType"] for one in listed.json()["manifests"]} == {IN_TOTO}
        chosen = next(
            one for one in listed.json()["manifests"] if one["annotations"][PREDICATE] == PROVENANCE
        )
        plain, signed = client.get(f"{V2}/manifests/{chosen['digest']}").json()["layers"]
        payload = client.get(f"{V2}/blobs/{plain['digest']}").content
        envelope = client.get(f"{V2}/blobs/{signed['digest']}").json()
        assert base64.b64decode(envelope["payload"]) == payload
        assert read_statement(payload).subjects[0][1] == world.digest(2)
        with at_work(load(world.home), actor="ines", now=NOW) as work:
            key = work.station.public_key
        [signature] = envelope["signatures"]
        detached = Envelope(envelope["payloadType"], signature["keyid"], base64.b64decode(signature["sig"]))
        assert verify(payload, detached, {key.keyid: key}) == key.keyid

    def test_the_tag_for_clients_that_know_no_referrers(self, client: "TestClient") -> None:
        digest = client.get(f"{V2}/manifests/team").headers["docker-content-digest"]
        answer = client.get(f"{V2}/manifests/{digest.replace(':', '-')}")
        assert answer.headers["content-type"] == "application/vnd.oci.image.index.v1+json"
        assert answer.json() == client.get(f"{V2}/referrers/{digest}").json()

    def test_nothing_refers_to_what_is_not_here(self, client: "TestClient") -> None:
        answer = client.get(f"{V2}/referrers/sha256:{'0' * 64}")
        assert (answer.status_code, answer.json()["manifests"]) == (200, [])

    def test_what_is_this_homes_own_affair_is_not_given(self, client: "TestClient") -> None:
        """Who approved, what was pinned: the auditor's commands answer that, to auditors."""
        digest = client.get(f"{V2}/manifests/team").headers["docker-content-digest"]
        told = client.get(f"{V2}/referrers/{digest}").text
        assert "urn:tidegate:pin" not in told
        assert "urn:tidegate:approval" not in told


class TestWhoMayHaveWhat:
    def test_nothing_without_showing_who_one_is(self, world: HubWorld) -> None:
        with door(world.home) as nobody:
            for path in ("/manifests/team", "/tags/list", f"/blobs/sha256:{'0' * 64}"):
                answer = nobody.get(V2 + path)
                assert refusal(answer) == (401, "UNAUTHORIZED")
                assert "/v2/token" in answer.headers["www-authenticate"]
            ping = nobody.get("/v2/")
            assert refusal(ping) == (401, "UNAUTHORIZED")
            assert ping.headers["www-authenticate"].startswith("Basic ")

    def test_what_no_tier_ever_served(self, client: "TestClient", world: HubWorld) -> None:
        assert refusal(client.get(f"{V2}/manifests/3")) == (403, "DENIED")
        assert "is not promoted" in client.get(f"{V2}/manifests/3").json()["errors"][0]["message"]
        with somebody(world, "val", "validator") as validator:
            found = image(validator, "3")
            only = set(world.files(3).values()) - set(world.files(2).values()) - set(world.files(1).values())
            digest = validator.get(f"{V2}/manifests/3").headers["docker-content-digest"]
            papers = validator.get(f"{V2}/referrers/{digest}").json()["manifests"]
        assert only
        for sha256 in only:
            assert client.get(f"{V2}/blobs/sha256:{sha256}").status_code == 403
        assert refusal(client.get(f"{V2}/manifests/{digest}")) == (403, "DENIED")
        assert refusal(client.get(f"{V2}/referrers/{digest}")) == (403, "DENIED")
        # Parts that are no files are not even admitted to exist.
        assert refusal(client.get(f"{V2}/blobs/{found['config']['digest']}")) == (404, "BLOB_UNKNOWN")
        for paper in papers:
            assert refusal(client.get(f"{V2}/manifests/{paper['digest']}")) == (404, "MANIFEST_UNKNOWN")

    def test_one_tiers_viewer_has_what_it_serves(self, client: "TestClient", world: HubWorld) -> None:
        with somebody(world, "eve", "viewer:edge") as edge:
            assert edge.get(f"{V2}/tags/list").json()["tags"] == ["2", "edge"]
            assert edge.get(f"{V2}/manifests/2").status_code == 200
            assert refusal(edge.get(f"{V2}/manifests/1")) == (403, "DENIED")
            gguf = world.files(1)["model.gguf"]
            assert edge.get(f"{V2}/blobs/sha256:{gguf}").status_code == 403
        assert client.get(f"{V2}/blobs/sha256:{gguf}").status_code == 200

    def test_a_file_of_another_model_is_none_of_this_one(self, client: "TestClient", world: HubWorld) -> None:
        digest = f"sha256:{world.files(2)['model.gguf']}"
        assert refusal(client.get(f"/v2/acme/large/blobs/{digest}")) == (404, "BLOB_UNKNOWN")

    def test_withdrawn_is_gone_for_everybody(self, hub_copy: HubWorld) -> None:
        with somebody(hub_copy, "val", "validator") as validator:
            digest = validator.get(f"{V2}/manifests/team").headers["docker-content-digest"]
            gguf = hub_copy.files(2)["model.gguf"]
            hub_copy.withdraw(2, "misreads dosages")
            for tag in ("team", "2", digest):
                answer = validator.get(f"{V2}/manifests/{tag}")
                assert refusal(answer) == (404, "MANIFEST_UNKNOWN")
                assert "misreads dosages" in answer.json()["errors"][0]["message"]
            assert validator.get(f"{V2}/blobs/sha256:{gguf}").status_code == 404
            assert validator.get(f"{V2}/referrers/{digest}").status_code == 404
            assert validator.get(f"{V2}/tags/list").json()["tags"] == ["1", "3"]

    def test_a_damaged_file_is_never_sent(self, hub_copy: HubWorld) -> None:
        path = hub_copy.home / "store" / "blobs" / "sha256" / hub_copy.files(2)["model.gguf"]
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        with somebody(hub_copy, "vera", "viewer") as client:
            answer = client.get(f"{V2}/blobs/sha256:{path.name}", headers={"range": "bytes=0-9"})
            assert answer.status_code == 500
            assert str(hub_copy.folder) not in answer.text


class TestStrangeRequests:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/v2/none/such/manifests/1", (404, "NAME_UNKNOWN")),
            ("/v2/none/such/tags/list", (404, "NAME_UNKNOWN")),
            ("/v2/one/manifests/1", (404, "NAME_UNKNOWN")),
            ("/v2/a/b/c/manifests/1", (404, "NAME_UNKNOWN")),
            ("/v2/_catalog", (404, "NAME_UNKNOWN")),
            ("/v2/..%2f..%2fetc/passwd/manifests/1", (404, "NAME_UNKNOWN")),
            (f"{V2}/manifests/nightly", (404, "MANIFEST_UNKNOWN")),
            (f"{V2}/manifests/sha256:{'0' * 64}", (404, "MANIFEST_UNKNOWN")),
            (f"{V2}/manifests/sha256:..%2f..%2fx", (404, "NAME_UNKNOWN")),
            (f"{V2}/manifests/sha512:{'0' * 128}", (404, "MANIFEST_UNKNOWN")),
            (f"{V2}/blobs/sha256:{'0' * 64}", (404, "BLOB_UNKNOWN")),
            (f"{V2}/blobs/sha256:{'A' * 64}", (404, "BLOB_UNKNOWN")),
            (f"{V2}/blobs/%25", (404, "BLOB_UNKNOWN")),
            (f"{V2}/referrers/team", (404, "MANIFEST_UNKNOWN")),
        ],
    )
    def test_are_answered_in_the_protocols_words(
        self, client: "TestClient", path: str, expected: tuple[int, str]
    ) -> None:
        assert refusal(client.get(path)) == expected

    @pytest.mark.parametrize("query", ["n=-1", "n=x", "n=99999999999999999999999"])
    def test_pages_of_no_size(self, client: "TestClient", query: str) -> None:
        answer = client.get(f"{V2}/tags/list?{query}")
        assert answer.status_code in (200, 422)
        assert answer.status_code == 200 or refusal(answer)

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/blobs/uploads/"), ("PUT", "/manifests/team"), ("DELETE", "/manifests/team"),
            ("PATCH", "/blobs/uploads/1"), ("DELETE", f"/blobs/sha256:{'0' * 64}"),
        ],
    )  # fmt: skip
    def test_nothing_is_pushed_moved_or_deleted(self, client: "TestClient", method: str, path: str) -> None:
        answer = client.request(method, V2 + path)
        assert refusal(answer) == (405, "UNSUPPORTED")
        assert "tidegate models add oci:" in answer.text


class TestRealClients:
    def test_skopeo_copies_a_tier(
        self, running: Served, viewer: str, world: HubWorld, tmp_path: Path
    ) -> None:
        copy = tmp_path / "copy"
        done = skopeo(
            "copy",
            "--src-creds",
            f"x:{viewer}",
            "--src-tls-verify=false",
            at(running, "team"),
            f"oci:{copy}:x",
        )
        assert done.returncode == 0, done.stderr
        for sha256 in world.files(2).values():
            assert file_sha256(copy / "blobs" / "sha256" / sha256) == sha256

    def test_skopeo_lists_and_shows(self, running: Served, viewer: str) -> None:
        creds = ("--creds", f"x:{viewer}", "--tls-verify=false")
        told = json.loads(skopeo("list-tags", *creds, at(running)).stdout)
        assert told["Tags"] == ["1", "2", "edge", "team"]
        shown = json.loads(skopeo("inspect", "--raw", *creds, at(running, "team")).stdout)
        assert shown["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"

    def test_skopeo_is_told_why_not(self, running: Served, viewer: str, tmp_path: Path) -> None:
        refused = skopeo(
            "copy",
            "--src-creds",
            f"x:{viewer}",
            "--src-tls-verify=false",
            at(running, "3"),
            f"oci:{tmp_path / 'c'}:x",
        )
        assert refused.returncode != 0
        assert "is not promoted" in refused.stderr

    def test_skopeo_cannot_push(self, running: Served, viewer: str, world: HubWorld) -> None:
        layout = f"oci:{world.home / 'store'}:{MODEL}:2"
        refused = skopeo(
            "copy", "--dest-creds", f"x:{viewer}", "--dest-tls-verify=false", layout, at(running, "mine")
        )
        assert refused.returncode != 0
        assert "tidegate models add oci:" in refused.stderr

    def test_oras_pulls_files_by_their_names(
        self, running: Served, viewer: str, world: HubWorld, tmp_path: Path
    ) -> None:
        from oras.client import OrasClient  # type: ignore[import-untyped]

        host = urlsplit(running.url).netloc
        oras = OrasClient(hostname=host, insecure=True)
        oras.auth.set_basic_auth("x", viewer)
        pulled = oras.pull(target=f"{host}/{MODEL}:team", outdir=str(tmp_path))
        assert {Path(path).name: file_sha256(Path(path)) for path in pulled} == world.files(2)
        assert {"2", "edge"} <= set(oras.get_tags(f"{host}/{MODEL}"))  # it shows its password only when asked
        with pytest.raises(ValueError, match="Forbidden"):
            oras.pull(target=f"{host}/{MODEL}:3", outdir=str(tmp_path))

    def test_what_is_open_needs_no_credentials(self, running: Served, tmp_path: Path) -> None:
        for tag, code in (("edge", 0), ("1", 1)):
            done = skopeo("copy", "--src-tls-verify=false", at(running, tag), f"oci:{tmp_path / tag}:x")
            assert done.returncode == code, done.stderr

    def test_ollama_pulls_what_is_open(self, running: Served, world: HubWorld) -> None:
        """It knows no passwords. No such client is here: this asks what its source asks."""
        kinds = as_ollama_pulls(running, "edge")
        assert kinds["model"] == world.files(2)["model.gguf"]
        assert kinds["license"] == world.files(2)["LICENSE"]


def skopeo(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [program("skopeo"), *words], capture_output=True, text=True, timeout=60, check=False
    )


def at(running: Served, tag: str | None = None) -> str:
    return f"docker://{urlsplit(running.url).netloc}/{MODEL}" + (f":{tag}" if tag else "")


def as_ollama_pulls(running: Served, tag: str) -> dict[str, str]:
    """Ask for a manifest, the length of each blob, a place to take it from, its parts. Returns kinds and digests."""
    link = http.client.HTTPConnection(urlsplit(running.url).netloc, timeout=30)

    def ask(method: str, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        link.request(method, path, headers=headers)
        answer = link.getresponse()
        return answer, answer.read()

    answer, body = ask("GET", f"{V2}/manifests/{tag}", Accept=DOCKER)
    assert (answer.status, answer.getheader("Content-Type")) == (200, DOCKER)
    manifest = json.loads(body)
    for layer in (*manifest["layers"], manifest["config"]):
        path = f"{V2}/blobs/{layer['digest']}"
        assert ask("HEAD", path)[0].getheader("Content-Length") == str(layer["size"])
        place = ask("GET", path)[0].getheader("Location")
        assert place is not None, "Ollama gives up where the answer names no place"
        half = layer["size"] // 2
        parts = [
            ask("GET", place, Range=f"bytes={a}-{b}") for a, b in ((0, half), (half + 1, layer["size"] - 1))
        ]
        whole = b"".join(data for _, data in parts) if parts[0][0].status == 206 else parts[0][1]
        assert f"sha256:{sha256_hex(whole)}" == layer["digest"]
    link.close()
    return {layer["mediaType"].rpartition(".")[2]: layer["digest"][7:] for layer in manifest["layers"]}


def test_a_version_that_ollama_cannot_load(client: "TestClient") -> None:
    answer = client.get("/v2/acme/large/manifests/team", headers={"accept": DOCKER})
    assert refusal(answer) == (404, "MANIFEST_UNKNOWN")
    assert "has no GGUF file" in answer.json()["errors"][0]["message"]


def test_a_password_is_a_token_already(world: HubWorld, viewer: str) -> None:
    with door(world.home) as nobody:
        assert nobody.get("/v2/token").json() == {"token": "anonymous"}
        assert nobody.get("/v2/token", auth=("any", viewer)).json() == {"token": viewer}
        wrong = nobody.get("/v2/token", auth=("any", "tdg_" + "A" * 43)).json()["token"]
        refused = nobody.get(f"{V2}/manifests/team", headers={"authorization": f"Bearer {wrong}"})
        assert refusal(refused) == (401, "UNAUTHORIZED")
        assert nobody.get("/v2/token", headers=[(b"authorization", b"Basic \xff!!")]).json() == {
            "token": "anonymous"
        }
        assert nobody.get("/v2/", auth=("any", viewer)).status_code == 200
        for header in ("Basic", "Basic !!!", "Basic " + "A" * 5000, "Bearer", "Digest x"):
            assert nobody.get(f"{V2}/manifests/team", headers={"authorization": header}).status_code == 401
