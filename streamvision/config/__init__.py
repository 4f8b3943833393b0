"""YAML -> frozen, validated `Settings`; every mistake of a file is reported with its place and a remedy."""

from streamvision.config.load import LabelsOf, load_settings, state_dir_of
from streamvision.config.settings import (
    CollectSettings,
    ExplainSettings,
    ModelSettings,
    OutboxSettings,
    RuleSettings,
    SecondSettings,
    ServerSettings,
    Settings,
    SinkSettings,
    StreamSettings,
    TokenSettings,
    TrackerSettings,
    server_at,
)
from streamvision.config.shard import Shard
from streamvision.config.sources import local_path, source_kind

__all__ = [
    "CollectSettings",
    "ExplainSettings",
    "LabelsOf",
    "ModelSettings",
    "OutboxSettings",
    "RuleSettings",
    "SecondSettings",
    "ServerSettings",
    "Settings",
    "Shard",
    "SinkSettings",
    "StreamSettings",
    "TokenSettings",
    "TrackerSettings",
    "load_settings",
    "local_path",
    "server_at",
    "source_kind",
    "state_dir_of",
]
