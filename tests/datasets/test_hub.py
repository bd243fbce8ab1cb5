import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from taketwo.datasets.card import dataset_card, is_untouched
from taketwo.datasets.hub import Push, check_complete, push_to_hub
from taketwo.datasets.layout import FilePlace, data_path, trace_path
from taketwo.errors import ConfigError, DatasetError, MissingExtraError
from tests.datasets.hub_server import TOKEN, Fault, Repo, hub
from tests.datasets.test_card import note, write_dataset

REPO = Path(__file__).parents[2]

PUSH = """
import json, sys, time
from pathlib import Path
time.sleep = lambda seconds: None  # huggingface_hub tries again after pauses
from taketwo.datasets.hub import push_to_hub
from taketwo.errors import TakeTwoError
root, repo_id, options = json.loads(sys.argv[1])
try:
    print(json.dumps({"url": push_to_hub(Path(root), repo_id, **options)}))
except TakeTwoError as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
"""

SNAPSHOT = """
import sys
from huggingface_hub import snapshot_download
snapshot_download("me/cube", repo_type="dataset", revision=sys.argv[1], local_dir=sys.argv[2])
"""


class Client:
    """A process of its own for each push: huggingface_hub reads its surroundings when it is imported."""

    def __init__(self, server, home):
        self.server, self.python = server, sys.executable
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | {
            "HF_ENDPOINT": server.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": str(REPO / "src"),
            "NO_PROXY": "127.0.0.1",
        }

    def run(self, code, *arguments):
        return subprocess.run(
            [self.python, "-c", code, *arguments], env=self.environment, capture_output=True, text=True, timeout=120
        )

    def push(self, root, repo_id="me/cube", **options):
        done = self.run(PUSH, json.dumps([str(root), repo_id, options]))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refused(self, root, repo_id="me/cube", **options):
        """The one line that a push failed with."""
        message = self.push(root, repo_id, **options)["error"]
        assert message.startswith("DatasetError: ")
        assert "\n" not in message
        return message


@pytest.fixture
def server():
    with hub() as server:
        yield server


@pytest.fixture
def client(server, tmp_path):
    return Client(server, tmp_path / "home")


@pytest.fixture
def root(tmp_path):
    root = write_dataset(tmp_path / "cube", video=True, packed=False, notes=[note(0), note(1)])
    trace = root / trace_path(0)
    trace.parent.mkdir(parents=True)
    trace.write_bytes(b"states")
    return root


def content(root, hidden=False):
    paths = (path for path in root.rglob("*") if path.is_file())
    named = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    return {name: data for name, data in named.items() if hidden or not any(p.startswith(".") for p in name.split("/"))}


def test_what_was_sent_comes_back_byte_for_byte(server, client, root, tmp_path):
    (root / ".taketwo" / "takes").mkdir(parents=True)
    (root / ".taketwo" / "lock").write_text("1")
    (root / ".taketwo" / "takes" / "rows.arrow").write_bytes(b"unfinished")
    (root / "data" / ".secret").write_text("hidden")
    (root / "images").mkdir()
    (root / "images" / "frame.png").write_bytes(b"not encoded yet")
    before = content(root, hidden=True)

    assert client.push(root) == {"url": f"{server.url}/datasets/me/cube"}

    sent = {name: data for name, data in content(root).items() if name != "images/frame.png"}
    card = {"README.md": dataset_card(root, "me/cube", "apache-2.0").encode()}
    assert server.repos["me/cube"].files("v3.0") == sent | card
    assert not server.repos["me/cube"].private
    assert content(root, hidden=True) == before, "a push changes nothing in the folder"

    done = client.run(SNAPSHOT, "v3.0", str(tmp_path / "loaded"))
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "loaded") == sent | card


@pytest.mark.parametrize("version", ["0.4.4", "0.6.1"])
def test_it_works_with_the_hub_libraries_that_lerobot_pins(version, server, client, root):
    script = [str(REPO / "scripts" / "peer_environment.sh"), version, "--existing"]
    found = subprocess.run(script, capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"no environment of lerobot {version}: {found.stderr.strip()}")
    client.python = found.stdout.strip()
    server.faults = [Fault("PUT /lfs-objects/", status=400, after=1)]
    assert "The Hub refused (400)" in client.refused(root)
    server.faults = [Fault("POST .*/commit/")]
    assert "the connection broke" in client.refused(root)
    server.faults.clear()
    server.requests.clear()
    assert "url" in client.push(root)
    assert server.sent("PUT") == [], "all of it had arrived, and only the commit was missing"
    card = {"README.md": dataset_card(root, "me/cube", "apache-2.0").encode()}
    assert server.repos["me/cube"].files("v3.0") == content(root) | card
    server.requests.clear()
    assert "url" in client.push(root)
    assert server.sent() == []


def test_the_transport_of_small_files_works_too(server, client, root):
    # With Xet at hand, huggingface_hub 2.x sends folders in another way, file by file as the Hub wants them.
    del client.environment["HF_HUB_DISABLE_XET"]
    server.lfs_suffixes = ()
    server.faults = [Fault("POST .*/commit/", status=503)]
    assert "The Hub is in trouble (503)" in client.refused(root)
    server.faults.clear()
    assert "url" in client.push(root)
    (root / trace_path(0)).unlink()
    assert "url" in client.push(root)
    card = {"README.md": dataset_card(root, "me/cube", "apache-2.0").encode()}
    assert server.repos["me/cube"].files("v3.0") == content(root) | card


def test_a_second_push_sends_nothing(server, client, root):
    client.push(root)
    commits = dict(server.repos["me/cube"].commits)
    server.requests.clear()
    assert "url" in client.push(root)
    assert server.sent() == []
    assert server.repos["me/cube"].commits == commits


def test_only_what_is_new_is_sent_and_what_is_gone_is_removed(server, client, root):
    client.push(root)
    repo = server.repos["me/cube"]
    repo.commit("main", repo.commits[repo.sha("main")] | {"notes.txt": b"a person's"})
    server.requests.clear()
    write_dataset(root, video=True)  # as packing does: all rows are in one file now
    (root / data_path(FilePlace(0, 1))).unlink()
    client.push(root)
    files = repo.files("v3.0")
    assert [name for name in files if name.startswith("data/")] == ["data/chunk-000/file-000.parquet"]
    assert files["notes.txt"] == b"a person's"
    assert {name: files[name] for name in content(root)} == content(root)
    assert len(server.sent("PUT")) == 2, "the rows, and where the episodes are now"


def test_a_push_that_broke_off_goes_on_where_it_was(server, client, root):
    server.faults = [Fault("PUT /lfs-objects/", after=2)]
    message = client.refused(root)
    assert "The Hub cannot be reached, or the connection broke" in message
    assert f"Nothing is lost: the dataset is in {root}." in message
    assert message.endswith(f"Send it later by: taketwo dataset push {root} --repo_id=me/cube")
    arrived = set(server.lfs)
    assert len(arrived) == 2
    assert server.repos["me/cube"].tags == {}, "nobody loads half of it"

    server.faults.clear()
    server.requests.clear()
    client.push(root)
    assert not {request.split("/")[-1] for request in server.sent("PUT")} & arrived
    assert set(content(root)) <= set(server.repos["me/cube"].files("v3.0"))


def test_a_push_that_broke_off_at_its_end_leaves_the_former_version_to_those_who_load_it(server, client, root):
    client.push(root)
    former = server.repos["me/cube"].files("v3.0")
    write_dataset(root, episodes=3, video=True)
    server.faults = [Fault("HEAD .*/README.md", status=500)]
    assert "The Hub is in trouble (500)" in client.refused(root)
    assert server.repos["me/cube"].files("v3.0") == former
    server.faults.clear()
    client.push(root)
    assert server.repos["me/cube"].files("v3.0") != former


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "The Hub does not know your token (401): log in again by `hf auth login`"),
        (403, "You may not write me/cube on the Hub (403): check its name, or log in with a token that may write"),
        (404, "The Hub has no place for me/cube (404): check its name"),
        (413, "The Hub refused (413): "),
        (429, "The Hub asks to wait, for there were too many requests (429)"),
        (503, "The Hub is in trouble (503)"),
    ],
)
def test_what_the_hub_refuses_is_told_in_a_line(status, says, server, client, root):
    server.faults = [Fault("POST /api/repos/create", status=status), Fault("GET /api/datasets/", status=404)]
    message = client.refused(root)
    assert message.startswith(f"DatasetError: {says}")
    assert message.endswith(f"Send it later by: taketwo dataset push {root} --repo_id=me/cube")
    assert server.sent() == []


def test_a_namespace_of_others_and_a_wrong_token_are_told(server, client, root):
    assert "You may not write others/cube on the Hub (403)" in client.refused(root, "others/cube")
    client.environment["HF_TOKEN"] = "hf_expired"
    assert "does not know your token (401)" in client.refused(root)
    assert server.repos == {}


def test_without_a_network_everything_stays_and_the_way_on_is_told(server, client, root):
    before = content(root, hidden=True)
    client.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    assert "The Hub cannot be reached, or the connection broke: Connection refused." in client.refused(root)
    client.environment["HF_ENDPOINT"] = "http://no-such-host.invalid"
    assert "The Hub cannot be reached" in client.refused(root)
    client.environment["HF_HUB_OFFLINE"] = "1"
    assert "The Hub is switched off: HF_HUB_OFFLINE is set." in client.refused(root)
    assert content(root, hidden=True) == before


def test_a_hub_that_does_not_answer_is_not_waited_for_forever(server, client, root):
    client.environment["HF_HUB_ETAG_TIMEOUT"] = "1"
    server.faults = [Fault("HEAD", hang_s=5)]
    assert "The Hub did not answer in time" in client.refused(root)


def test_who_is_not_logged_in_is_told_how(server, client, root):
    del client.environment["HF_TOKEN"]
    message = client.refused(root)
    assert message.startswith("DatasetError: You are not logged in to the Hugging Face Hub: run `hf auth login` once.")
    assert message.endswith(f"Send it later by: taketwo dataset push {root} --repo_id=me/cube")
    assert server.sent() == server.sent(".*repos/create") == []


def test_the_command_for_later_does_the_same():
    push = Push(Path("my data/cube"), "me/cube", True, ("sim", "two arms"), "mit", "trial")
    assert shlex.split(push.command)[3:] == [
        "my data/cube",
        "--repo_id=me/cube",
        "--private=true",
        "--tags=[sim, two arms]",
        "--license=mit",
        "--branch=trial",
    ]


def test_a_name_without_a_user_is_ones_own(server, client, root):
    assert client.push(root, "cube") == {"url": f"{server.url}/datasets/me/cube"}
    assert b"taketwo view --repo-id me/cube" in server.repos["me/cube"].files()["README.md"]


def test_a_private_dataset_is_private_and_never_put_into_a_public_repository(server, client, root):
    client.push(root, "me/secret", private=True)
    assert server.repos["me/secret"].private
    assert "url" in client.push(root, "me/secret", private=True)
    server.repos["me/cube"] = Repo(private=False)
    assert "me/cube on the Hub is public, and private was asked for" in client.refused(root, private=True)
    assert server.repos["me/cube"].files() == {}


def test_a_branch_is_made_where_it_is_missing_and_sent_to(server, client, root):
    for _ in range(2):
        assert "url" in client.push(root, branch="trial")
    repo = server.repos["me/cube"]
    assert repo.files("main") == {}
    assert repo.tags["v3.0"] == repo.branches["trial"]
    assert set(content(root)) <= set(repo.files("trial"))


def test_a_card_by_a_person_stays(server, client, root):
    client.push(root)
    repo = server.repos["me/cube"]
    edited = repo.files()["README.md"].replace(b"# cube", b"# The cube of my thesis")
    repo.commit("main", repo.commits[repo.sha("main")] | {"README.md": edited})
    write_dataset(root, episodes=3, video=True)
    client.push(root)
    assert repo.files()["README.md"] == edited


def test_a_card_in_the_folder_is_sent_as_it_is(server, client, root):
    (root / "README.md").write_text("---\nlicense: mit\n---\nMine.\n")
    client.push(root)
    assert server.repos["me/cube"].files()["README.md"] == b"---\nlicense: mit\n---\nMine.\n"


def test_our_own_card_is_renewed_also_where_it_came_along_in_a_download(server, client, root):
    client.push(root)
    repo = server.repos["me/cube"]
    old = repo.files()["README.md"]
    (root / "README.md").write_bytes(old)
    write_dataset(root, episodes=3, video=True)
    client.push(root)
    new = repo.files()["README.md"].decode()
    assert "| episodes | 3 |" in new
    assert is_untouched(new)
    assert (root / "README.md").read_bytes() == old


def test_a_license_that_the_hub_does_not_know_is_told(server, client, root):
    assert '"license" must be one of' in client.refused(root, license="unheard-of")


@pytest.fixture
def nothing_is_sent(monkeypatch):
    import huggingface_hub

    def fail():
        raise AssertionError("it went as far as the Hub")

    monkeypatch.setattr(huggingface_hub, "get_token", fail)
    monkeypatch.setattr(huggingface_hub, "HfApi", fail)


@pytest.mark.parametrize("repo_id", ["../cube", "/tmp/cube", "me/cube/more", "me/c ube", ""])
def test_a_repo_id_that_is_none_is_refused_first(repo_id, root, nothing_is_sent):
    with pytest.raises(ConfigError, match="is not a dataset's name"):
        push_to_hub(root, repo_id)


def test_a_license_that_cannot_be_one_is_refused_first(root, nothing_is_sent):
    with pytest.raises(ConfigError, match=r"license 'Apache 2\.0' is not an identifier"):
        push_to_hub(root, "me/cube", license="Apache 2.0")


def test_what_is_not_whole_is_refused_first(root, tmp_path, nothing_is_sent):
    with pytest.raises(DatasetError, match="is no LeRobot dataset"):
        push_to_hub(tmp_path, "me/cube")
    with pytest.raises(DatasetError, match="has no episodes yet"):
        push_to_hub(write_dataset(tmp_path / "empty", episodes=0), "me/cube")
    (root / ".taketwo").mkdir()
    (root / ".taketwo" / "commit.json").write_text("{}")
    with pytest.raises(DatasetError, match=f"is in the middle of a change: .*taketwo dataset repair {root}"):
        push_to_hub(root, "me/cube")
    (root / ".taketwo" / "commit.json").unlink()
    check_complete(root)
    (root / "videos/observation.images.top/chunk-000/file-000.mp4").unlink()
    with pytest.raises(DatasetError, match=r"videos/observation.images.top/chunk-000/file-000.mp4 is missing"):
        push_to_hub(root, "me/cube")
    (root / data_path(FilePlace())).unlink()
    with pytest.raises(DatasetError, match=r"data/chunk-000/file-000.parquet and 1 more is missing"):
        push_to_hub(root, "me/cube")


def test_the_missing_extra_is_named(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'taketwo\[hub\]'"):
        push_to_hub(root, "me/cube")
