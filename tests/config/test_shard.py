"""Shares of a configuration: every stream has one owner, and few move when shards are added."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamvision.config import Settings, Shard, load_settings
from streamvision.config.shard import MAX_SHARDS, owner_of
from streamvision.errors import ConfigError, UsageError

CONFIG = """
server: {{listen: "127.0.0.1:{port}"}}
streams:
{streams}
collect: {{streams: [cam-0, cam-1]}}
"""


def whole(folder: Path, port: int = 8080, count: int = 24) -> Settings:
    streams = "\n".join(f"  - {{id: cam-{number}, url: demo:street}}" for number in range(count))
    (folder / "config.yaml").write_text(CONFIG.format(port=port, streams=streams))
    return load_settings(folder / "config.yaml")


def ids(settings: Settings) -> set[str]:
    return {stream.id for stream in settings.streams}


@pytest.mark.parametrize("text", ["2/8", "2-8"])
def test_both_spellings_are_understood(text: str):
    assert Shard.parse(text) == Shard(2, 8)
    assert str(Shard.parse(text)) == "2/8"


@pytest.mark.parametrize(
    "text", ["", "2", "0/8", "9/8", "2/0", "-1/8", "2/8/9", "02/8", "a/b", "1/1025", "٢/٨", " 2/8"]
)
def test_what_is_no_shard_is_refused(text: str):
    with pytest.raises(UsageError, match="expected INDEX/COUNT") as caught:
        Shard.parse(text)
    assert caught.value.exit_code == 2


@given(st.sets(st.text(min_size=1, max_size=20), min_size=1, max_size=50), st.integers(1, 40))
def test_every_stream_has_exactly_one_owner(streams: set[str], count: int):
    for stream in streams:
        owners = [index for index in range(1, count + 1) if Shard(index, count).owns(stream)]
        assert owners == [owner_of(stream, count)]


@given(st.text(min_size=1, max_size=20), st.integers(1, 60))
def test_a_stream_moves_only_to_the_shard_that_came(stream: str, count: int):
    before, after = owner_of(stream, count), owner_of(stream, count + 1)
    assert after in (before, count + 1)


@given(st.text(alphabet="abcdefgh0123456789-_.", min_size=1, max_size=12), st.integers(1, 24))
@settings(max_examples=20)
def test_about_one_in_n_moves_and_shares_are_even(prefix: str, count: int):
    total = 2000
    names = [f"{prefix}{number}" for number in range(total)]
    before = [owner_of(name, count) for name in names]
    moved = sum(owner_of(name, count + 1) != old for name, old in zip(names, before, strict=True))
    share = 1 / (count + 1)
    assert abs(moved - total * share) < 6 * (total * share * (1 - share)) ** 0.5  # six standard deviations
    fair = total / count
    assert all(abs(size - fair) <= 6 * fair**0.5 for size in Counter(before).values())


def test_owners_never_change_between_versions():
    """Fixed for ever: another hash would move every stream of every installation at an update."""
    assert [owner_of(f"cam-{number}", 8) for number in range(12)] == EXPECTED


EXPECTED = [3, 3, 5, 2, 7, 3, 2, 8, 2, 1, 5, 3]


def test_shards_divide_the_streams_and_nothing_else(tmp_path: Path):
    all_of_it = whole(tmp_path)
    parts = [Shard(index, 5).of(all_of_it) for index in range(1, 6)]
    assert sorted(stream for part in parts for stream in ids(part)) == sorted(ids(all_of_it))
    assert {part.state_dir for part in parts} == {all_of_it.state_dir / f"shard-{index}" for index in range(1, 6)}
    assert [part.server.listen for part in parts] == [f"127.0.0.1:{port}" for port in range(8080, 8085)]
    assert len({part.first_track_id for part in parts}) == 5
    assert all(part.elsewhere == set(ids(all_of_it)) - set(ids(part)) for part in parts)
    assert not all_of_it.elsewhere
    assert all(part.models == all_of_it.models for part in parts)
    assert all(part.sinks == all_of_it.sinks for part in parts)


def test_collecting_is_for_the_shards_own_streams(tmp_path: Path):
    all_of_it = whole(tmp_path)
    parts = [Shard(index, 5).of(all_of_it) for index in range(1, 6)]
    for part in parts:
        wanted = ids(part) & {"cam-0", "cam-1"}
        assert (set(part.collect.streams) if part.collect else set()) == wanted
        assert (part.collect is None) == (not wanted)


def test_the_state_of_a_shard_stays_when_one_is_added(tmp_path: Path):
    assert Shard(2, 8).state_dir(tmp_path) == Shard(2, 9).state_dir(tmp_path)


def test_a_free_port_stays_a_free_port(tmp_path: Path):
    assert Shard(3, 3).of(whole(tmp_path, port=0)).server.port == 0


def test_a_port_too_high_is_refused(tmp_path: Path):
    assert Shard(1, 2).of(whole(tmp_path, port=65535)).server.port == 65535
    with pytest.raises(UsageError, match="would listen at port 65536"):
        Shard(2, 2).of(whole(tmp_path, port=65535))


def test_streams_of_other_shards_are_validated_too(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("streams: [{id: gate, url: demo:street}, {id: yard, url: gopher://x}]")
    with pytest.raises(ConfigError, match="gopher"):
        load_settings(tmp_path / "config.yaml")


def test_track_ids_of_all_shards_are_exact_in_json():
    assert (MAX_SHARDS + 1) * Shard(1, 1).first_track_id < 2**53
