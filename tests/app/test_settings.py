"""Promises of the settings: what the command was given is what the pages see."""

import pytest

from poise.app.settings import MODEL_VARIABLE, VARIABLE, AppSettings
from poise.errors import AppError


def test_settings_reach_the_pages_through_the_environment() -> None:
    """What is written into the environment is read from it, and nothing means the defaults."""
    given = AppSettings(model="/m.zip", study="/s", max_upload_mb=7, trust_pickle=True, allow_paths=False, audio="/a")
    assert AppSettings.from_environment(given.to_environment()) == given
    assert AppSettings.from_environment({}) == AppSettings()
    assert given.encoders == {"audio": "/a"}


def test_a_variable_names_the_first_model_where_no_option_does() -> None:
    """CONFIDENCE_MODEL_ZIP is read, and --model goes before it."""
    environment = {MODEL_VARIABLE: "/from/variable.zip"}
    assert AppSettings.from_environment(environment).model == "/from/variable.zip"
    given = AppSettings(model="/from/option.zip").to_environment()
    assert AppSettings.from_environment({**environment, **given}).model == "/from/option.zip"


@pytest.mark.parametrize("text", ["{", "[]", '{"port": 1}', '{"max_upload_mb": "7"}', '{"max_upload_mb": true}'])
def test_settings_that_poise_did_not_write_are_refused(text: str) -> None:
    """No JSON, an unknown name and a value of another kind are an error, not a default."""
    with pytest.raises(AppError, match=f"{VARIABLE} is"):
        AppSettings.from_environment({VARIABLE: text})
