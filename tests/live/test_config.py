import math

import pytest

from taketwo.errors import ConfigError
from taketwo.live.config import LiveConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", -1),
        ("port", 65536),
        ("host", ""),
        ("host", "http://127.0.0.1"),
        ("host", "a b"),
        ("token", "short"),
        ("token", "with a space"),
        ("token", ""),
        ("allowed_hosts", ("https://robot.example",)),
        ("allowed_hosts", ("robot:8090",)),
        ("fps", 0.0),
        ("fps", math.nan),
        ("fps", math.inf),
        ("quality", 0),
        ("quality", 96),
        ("window_every", 0),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(ConfigError, match=rf"^{field} must "):
        LiveConfig(**{field: value})


def test_a_wrong_token_is_not_repeated():
    with pytest.raises(ConfigError) as caught:
        LiveConfig(token="my secret")
    assert "secret" not in str(caught.value)
    assert "s3cret-token" not in repr(LiveConfig(token="s3cret-token"))
