"""The engine on small dataclasses of its own; the real configuration is in test_config.py."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from taketwo.cli.convert import load_yaml
from taketwo.cli.flags import read_flags
from taketwo.cli.help import options_help
from taketwo.cli.resolve import Source, resolve, to_plain
from taketwo.cli.schema import Choice, Component, attribute_docs
from taketwo.errors import ConfigError
from taketwo.registry import Registry


@dataclass(frozen=True)
class Cat:
    """A cat.

    Attributes:
        lives: how many are left.
        flap_code: opens the flap.
        feeder: address of the machine that feeds it.
    """

    lives: int = 9
    flap_code: str | None = field(default=None, repr=False)
    feeder: str | None = None

    def __post_init__(self):
        if self.lives < 1:
            raise ConfigError(f"lives must be 1 or more, not {self.lives}")


@dataclass(frozen=True)
class Dog:
    """A dog.

    Attributes:
        name: what it listens to.
        tricks: what it can do,
            in order.
    """

    name: str
    tricks: tuple[str, ...] = ("sit",)


@dataclass(frozen=True)
class Bowl:
    """A bowl."""

    litres: float = 0.5
    size: Literal["small", "large"] = "small"

    def __post_init__(self):
        if self.litres <= 0:
            raise ConfigError(f"bowl.litres must be more than 0, not {self.litres}")
        if self.size == "small" and self.litres > 1:
            raise ConfigError("a small one holds a litre at most")


PETS = Registry("pet", "tests.pets", {"cat": f"{__name__}:Cat", "dog": f"{__name__}:Dog"})


@dataclass(frozen=True)
class House:
    """A house.

    Attributes:
        where: its folder.
    """

    pet: Component[Any] = field(metadata={"choice": Choice(PETS, "cat")})
    bowl: Bowl = field(default_factory=lambda: Bowl(litres=0.25))
    spare: Bowl | None = None
    where: Path = Path("here")
    warm: bool = False
    limit: int | None = 3
    alpha: float | dict[str, float] | None = None
    extras: dict[str, Any] = field(default_factory=dict)
    span: tuple[float, float] = (0.0, 1.0)


def house(*words, file=None, path="run.yaml"):
    return resolve(House, Source(read_flags(words).flags, file or {}, Path(path) if file else None))


def error(*words, file=None):
    with pytest.raises(ConfigError) as caught:
        house(*words, file=file)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_nothing_given_gives_the_defaults():
    found = house()
    assert found.pet == Component("cat", Cat())
    assert found.bowl == Bowl(litres=0.25)
    assert found.spare is None


def test_flags_win_over_the_file_and_the_file_over_defaults():
    found = house("--bowl.litres=0.75", file={"bowl": {"litres": 0.5, "size": "large"}, "warm": True})
    assert found.bowl == Bowl(litres=0.75, size="large")
    assert found.warm


def test_a_section_keeps_its_default_values_that_are_not_given():
    assert house("--bowl.size=large").bowl == Bowl(litres=0.25, size="large")


def test_an_optional_section_comes_to_be_by_one_of_its_flags():
    assert house("--spare.litres=0.1").spare == Bowl(litres=0.1)


def test_options_are_those_of_the_chosen_type():
    assert house("--pet.type=dog", "--pet.name=Rex").pet == Component("dog", Dog("Rex"))
    assert house(file={"pet": {"type": "dog", "name": "Rex"}}).pet.options == Dog("Rex")


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("1", True), ("false", False)])
def test_booleans_by_word(text, value):
    assert house(f"--warm={text}").warm is value
    assert house("--warm", text).warm is value


def test_a_boolean_alone_is_true():
    assert house("--warm").warm is True


@pytest.mark.parametrize("text", ["sit,roll", "[sit, roll]", "sit, roll"])
def test_lists_with_and_without_brackets(text):
    assert house("--pet.type=dog", "--pet.name=Rex", f"--pet.tricks={text}").pet.options.tricks == ("sit", "roll")


def test_a_list_of_one_and_a_list_of_none():
    assert house("--pet.type=dog", "--pet.name=R", "--pet.tricks=sit").pet.options.tricks == ("sit",)
    assert house("--pet.type=dog", "--pet.name=R", "--pet.tricks=[]").pet.options.tricks == ()


def test_words_that_look_like_numbers_stay_words_in_a_list_of_words():
    assert house("--pet.type=dog", "--pet.name=R", "--pet.tricks=[1, 2]").pet.options.tricks == ("1", "2")


def test_mappings_and_numbers_share_an_option():
    assert house("--alpha=0.5").alpha == 0.5
    assert house("--alpha={left: 0.5, '*': 1e-3}").alpha == {"left": 0.5, "*": 0.001}
    assert house("--alpha=none").alpha is None
    assert house("--extras={a: 1, b: [x]}").extras == {"a": 1, "b": ["x"]}


def test_none_takes_a_default_away():
    assert house("--limit=none").limit is None


def test_paths_are_paths():
    assert house("--where=a/b").where == Path("a/b")
    assert house(file={"where": "a/b"}).where == Path("a/b")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--limit=lots"], "--limit: expected int, got 'lots'"),
        (["--limit"], "--limit needs a value: int"),
        (["--bowl.size=larg"], "--bowl.size: expected small or large, got 'larg'. Did you mean 'large'?"),
        (["--warm=perhaps"], "--warm: expected true or false, got 'perhaps'"),
        (["--alpha={a: x}"], "--alpha: expected float or mapping of float such as {a: 0.5}, got '{a: x}'"),
        (["--extras={a: 2001-99-99}"], "--extras: expected mapping of value such as {a: 0.5}, got '{a: 2001-99-99}'"),
        (["--alpha={a: 1"], "--alpha: expected float or mapping of float such as {a: 0.5}, got '{a: 1'"),
        (["--span=1,2,3"], "--span: expected list of 2 float, got '1,2,3'"),
        (["--bowl.litre=1"], "unknown flag --bowl.litre. Did you mean --bowl.litres?"),
        (["--litres=1"], "unknown flag --litres. Did you mean --bowl.litres or --spare.litres?"),
        (["--lifes=1"], "unknown flag --lifes. Did you mean --pet.lives?"),
        (["--bowl=1"], "unknown flag --bowl. Did you mean --bowl.litres?"),
        (["--zzz=1"], "unknown flag --zzz. See --help."),
        (["--pet.tricks=sit"], "--pet.tricks belongs to --pet.type=dog, and --pet.type is cat"),
        (["--pet.type=cow"], "unknown pet 'cow'. Known: cat, dog."),
        (["--pet.type="], "--pet.type needs a value: cat or dog"),
        (["--pet.type=dog"], "--pet.name is needed: what it listens to."),
        (["--pet.lives=0"], "--pet.lives must be 1 or more, not 0"),
        (["--bowl.litres=-1"], "--bowl.litres must be more than 0, not -1.0"),
        (["--bowl.litres=2"], "bowl: a small one holds a litre at most"),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(words, message):
    assert error(*words) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"limit": "lots"}, "limit in run.yaml: expected int, got str 'lots'"),
        ({"limit": "3"}, "limit in run.yaml: expected int, got str '3'"),
        ({"warm": None}, "warm in run.yaml: expected true or false, got nothing"),
        ({"bowl": {"litre": 1}}, "unknown key bowl.litre in run.yaml. Did you mean bowl.litres?"),
        ({"litres": 1}, "unknown key litres in run.yaml. Did you mean bowl.litres or spare.litres?"),
        ({"bowl": 3}, "bowl in run.yaml: expected a mapping such as {litres: ...}, got 3"),
        ({"pet": "dog"}, "pet in run.yaml: expected a mapping such as {type: ...}, got 'dog'"),
        ({"pet": {"type": 3}}, "pet.type in run.yaml: expected text, got 3"),
        ({"pet": {"tricks": ["sit"]}}, "pet.tricks in run.yaml belongs to pet.type dog, and pet.type is cat"),
        ({"pet": {"lives": 0}}, "pet.lives in run.yaml must be 1 or more, not 0"),
        ({"bowl": {"litres": -1}}, "bowl.litres in run.yaml must be more than 0, not -1.0"),
    ],
)
def test_a_wrong_key_is_told_in_one_line(content, message):
    assert error(file=content) == message


def test_a_flag_that_overrules_the_file_gets_the_blame():
    assert error("--pet.lives=-1", file={"pet": {"lives": 3}}) == "--pet.lives must be 1 or more, not -1"


def test_keys_with_dashes_are_keys_with_underscores():
    assert house("--pet.flap-code=s", file={"pet": {"flap-code": "k"}}).pet.options.flap_code == "s"


def test_plain_values_give_the_same_configuration_back(tmp_path):
    given = house("--pet.type=dog", "--pet.name=Rex", "--alpha={left: inf}", "--spare.size=large", "--limit=none")
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(to_plain(given), sort_keys=False))
    assert resolve(House, Source({}, load_yaml(path), path)) == given


def test_a_secret_is_masked_and_has_to_be_given_again():
    plain = to_plain(house("--pet.flap_code=opensesame"))
    assert "opensesame" not in str(plain)
    assert error(file=plain) == (
        "pet.flap_code in run.yaml was left out when it was stored; give it as --pet.flap_code=..."
    )
    assert house("--pet.flap_code=k", file=plain).pet.options.flap_code == "k"


def test_a_secret_of_a_wrong_type_is_not_shown():
    assert error(file={"pet": {"flap_code": 4711}}) == "pet.flap_code in run.yaml: expected text, got int"


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("ws://bob:secret@box:8000/x?token=abc", "ws://***@box:8000/x?***"),
        ("wss://box/x?secret", "wss://box/x?***"),
        ("HTTPS://secret@box", "HTTPS://***@box"),
        ("box/x?token=secret", "box/x?***"),
    ],
)
def test_credentials_in_a_url_are_masked_and_have_to_be_given_again(given, stored):
    plain = to_plain(house(f"--pet.feeder={given}", f"--extras={{inner: ['{given}']}}"))
    assert plain["pet"]["feeder"] == stored
    assert plain["extras"] == {"inner": [stored]}
    message = "pet.feeder in run.yaml was left out when it was stored; give it as --pet.feeder=..."
    assert error("--extras={}", file=plain) == message
    assert error("--pet.feeder=x", file=plain).startswith("extras in run.yaml was left out")
    assert house(f"--pet.feeder={given}", "--extras={}", file=plain).pet.options.feeder == given


@pytest.mark.parametrize(
    "text", ["ws://box:8000/x", "127.0.0.1", "is it there? yes=no", "mail bob@box", "what?", "a@b"]
)
def test_other_text_is_stored_as_it_is(text):
    assert to_plain(house(f"--pet.feeder={text}"))["pet"]["feeder"] == text


def test_attribute_docs_join_their_lines():
    assert attribute_docs(Dog) == {"name": "what it listens to.", "tricks": "what it can do, in order."}


def test_help_names_every_flag_with_type_default_and_the_other_types():
    text = options_help(House, {"pet": "dog"})
    assert "--pet.name  text  (required)" in text
    assert "--pet.tricks  list of text  [sit]" in text
    assert "--bowl.litres  float  [0.25]" in text
    assert "what it can do, in order." in text
    assert "cat" in text
    assert "lives" not in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "line 1"),
        ("- 1\n", "holds a list, not a mapping"),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: key 'a' twice"),
        ("{[a, b]: 1}", "line 1, column 2: found unhashable key"),
        ("{{a: b}: 1}", "line 1, column 2: found unhashable key"),
        ("limit: 2001-99-99\n", "month must be in 1..12"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_yaml(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*none\.yaml: No such file"):
        load_yaml(tmp_path / "none.yaml")


def test_exponents_without_a_point_are_numbers(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("alpha: 1e-3\n")
    assert resolve(House, Source({}, load_yaml(path), path)).alpha == 0.001


def test_an_empty_file_changes_nothing(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("")
    assert resolve(House, Source({}, load_yaml(path), path)) == house()
