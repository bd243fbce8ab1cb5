import pytest

from tests.datasets.recording import Recorded, record_aloha


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """Five episodes of the real aloha with two cameras; not to be changed."""
    folder = tmp_path_factory.mktemp("recorded")
    truth = record_aloha(folder / "cube", episodes=5, steps=30)
    truth.save(folder / "truth.npz")
    return Recorded(folder / "cube", "me/cube", folder / "truth.npz", fps=50.0, episodes=5)
