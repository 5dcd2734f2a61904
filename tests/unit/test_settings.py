"""Settings from environment and file."""

from __future__ import annotations

from pathlib import Path

import pytest

from glyph_worker.doctor import describe_settings
from glyph_worker.errors import InvalidSetting
from glyph_worker.settings import Settings


def test_every_setting_can_be_set_by_the_name_that_doctor_lists() -> None:
    rows = describe_settings(Settings())
    assert len(rows) > 15
    for row in rows:
        if row["value"] == "None":
            continue
        loaded = Settings.load(environ={row["variable"]: row["value"]})
        assert isinstance(loaded, Settings), row


def test_every_setting_but_the_sections_says_what_it_means() -> None:
    silent = [row["variable"] for row in describe_settings(Settings()) if not row["meaning"]]
    assert silent == ["GLYPH_LOG_LEVEL"]


def test_an_unknown_name_fails_and_says_where_to_look() -> None:
    with pytest.raises(InvalidSetting, match="GLYPH_BROKER_ULR is no setting"):
        Settings.load(environ={"GLYPH_BROKER_ULR": "redis://"})


def test_a_bad_value_names_the_variable_and_the_rule() -> None:
    with pytest.raises(InvalidSetting, match=r"GLYPH_QUEUE_LEASE_S: .*greater than or equal to 3"):
        Settings.load(environ={"GLYPH_QUEUE_LEASE_S": "1"})


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "glyph.toml"
    file.write_text('model = "/models/a"\n[queue]\nlease_s = 60\ndrain_s = 7\n')
    environ = {"GLYPH_SETTINGS_FILE": str(file), "GLYPH_QUEUE_LEASE_S": "90"}
    loaded = Settings.load(environ=environ)
    assert (loaded.model, loaded.queue.lease_s, loaded.queue.drain_s) == ("/models/a", 90, 7)


def test_an_unknown_name_in_the_file_fails(tmp_path: Path) -> None:
    file = tmp_path / "glyph.toml"
    file.write_text("[queue]\nleese_s = 60\n")
    with pytest.raises(InvalidSetting, match="QUEUE_LEESE_S"):
        Settings.load(file=file, environ={})


def test_a_password_never_shows() -> None:
    loaded = Settings.load(environ={"GLYPH_BROKER_URL": "redis://:hunter2@h/0"})
    assert "hunter2" not in repr(loaded)
    assert all("hunter2" not in row["value"] for row in describe_settings(loaded))


def test_off_names_switches_of_every_section() -> None:
    loaded = Settings.load(environ={"GLYPH_OFF": "cuda_graphs, store"})
    assert not loaded.engine.cuda_graphs
    assert not loaded.features.store
    assert loaded.engine.prefix_sharing


def test_off_refuses_what_is_no_switch() -> None:
    with pytest.raises(InvalidSetting, match=r"GLYPH_OFF: .*'graphs' is none of affinity"):
        Settings.load(environ={"GLYPH_OFF": "graphs"})


def test_a_switch_and_a_constant_are_no_settings_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="say GLYPH_OFF=prefix_sharing"):
        Settings.load(environ={"GLYPH_ENGINE_PREFIX_SHARING": "false"})
    file = tmp_path / "glyph.toml"
    file.write_text("[features]\nclaim_lease_s = 9\n")
    with pytest.raises(InvalidSetting, match="a constant"):
        Settings.load(file=file, environ={})


def test_there_are_few_enough_settings_to_read_them() -> None:
    assert len(describe_settings(Settings())) <= 74
