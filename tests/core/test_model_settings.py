"""models.toml: what is wrong is told with its place and its mend; what is right is as meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchkeeper.app.model_settings import key_of, models_of, read_models
from watchkeeper.core.errors import UsageError
from watchkeeper_agents.models.settings import Seat

GOOD = """
[models.small]
provider = "openai"
url = "http://127.0.0.1:8000/v1"
model = "qwen"
million_in = 0.1

[agents.remediation]
model = "small"
classes = ["gpu_memory"]
steps = 2

[caps]
day = {calls = 10, tokens = 1000, seconds = 60.0, money = 1.0}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "models.toml"
    path.write_text(text)
    return path


def test_a_file_says_who_asks_which_model_and_what_it_may_cost(tmp_path: Path) -> None:
    settings = read_models(written(tmp_path, GOOD))
    assert settings.models["small"].answers_as == "json_schema"
    assert settings.agents == {"remediation": Seat(model="small", classes=("gpu_memory",), steps=2)}
    assert settings.use.caps.day.calls == 10
    assert settings.use.caps.incident.calls == 12, "what is not said is the default"


def test_without_a_seat_there_is_no_model_at_all(tmp_path: Path) -> None:
    text = GOOD.partition("[agents")[0]
    assert models_of(read_models(written(tmp_path, text)), ()) is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('provider = "openai"', 'provder = "openai"', "unknown field `provder`"),
        ('model = "small"', 'model = "smal"', "no model is called 'smal'; did you mean 'small'"),
        ("[agents.remediation]", "[agents.remedation]", "did you mean 'remediation'"),
        ('["gpu_memory"]', '["gpu_memroy"]', "no class of fault is called 'gpu_memroy'"),
        ("steps = 2", "steps = 99", "steps must be between 0 and 16"),
        ("steps = 2", 'steps = "2"', "Expected `int`, got `str`"),
        ("http://127", "ftp://127", "url must begin with http:// or https://"),
        ("http://127", "http://u:p@127", "name key_env or key_file"),
        ("million_in = 0.1", "million_in = -1.0", "a price is not below 0"),
        ("million_in = 0.1", 'answer = "poem"', "answer is one of json_schema, json_object"),
        ("million_in = 0.1", 'key_env = "A"\nkey_file = "b"', "not both"),
        ("calls = 10", "calls = -1", "caps.day: no cap is below 0"),
        ("[models.small]", "[models.small", "no valid file of models"),
        ("[caps]", "[breaker]\nfailures = 0\n[caps]", "breaker: failures is 1 or more"),
        ("[caps]", "[trust]\nbrier = 2.0\n[caps]", "brier lies between 0 and 1"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(UsageError) as wrong:
        read_models(written(tmp_path, GOOD.replace(old, new)))
    assert says in str(wrong.value)
    assert str(tmp_path) in str(wrong.value)


def test_a_key_is_read_from_where_it_is_and_only_if_nobody_else_can_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read_models(written(tmp_path, GOOD.replace("million_in = 0.1", 'key_env = "WK_K"')))
    with pytest.raises(UsageError, match="WK_K is not set"):
        key_of("small", settings.models["small"])
    monkeypatch.setenv("WK_K", " abc \n")
    assert key_of("small", settings.models["small"]) == "abc"
    key = tmp_path / "key"
    key.write_text("k-1\n")
    key.chmod(0o644)
    text = GOOD.replace("million_in = 0.1", f'key_file = "{key}"')
    spec = read_models(written(tmp_path, text)).models["small"]
    with pytest.raises(UsageError, match="chmod 600"):
        key_of("small", spec)
    key.chmod(0o600)
    assert key_of("small", spec) == "k-1"


def test_the_example_of_the_page_is_sound(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "model.md").read_text()
    block = page.partition("```toml\n")[2].partition("```")[0]
    settings = read_models(written(tmp_path, block))
    assert set(settings.models) == {"small", "large"}
    assert settings.agents["remediation"].hold_s == 120.0
