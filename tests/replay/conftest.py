from types import SimpleNamespace

import pytest

from tests.replay.recording import Pictures, record_aloha


@pytest.fixture(scope="session")
def cube(tmp_path_factory):
    """Three whole episodes of the cube's transfer: `root`, `result`, and the `pictures` of `top`; not to be changed."""
    root = tmp_path_factory.mktemp("me") / "cube"
    pictures = Pictures("top")
    result = record_aloha(root, sinks=[pictures], seed=7, num_episodes=3)
    return SimpleNamespace(root=root, result=result, pictures=pictures.episodes)
