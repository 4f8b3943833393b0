"""`streamvision schema`: the JSON Schema of the configuration."""

from __future__ import annotations

import typer


def schema() -> None:
    """Print the JSON Schema of a configuration file, with the options of every installed plug-in.

    Example: streamvision schema > config.schema.json
    """
    typer.echo(schema_text(), nl=False)


def schema_text() -> str:
    """Return the schema as the text that configs/config.schema.json holds."""
    import json

    from streamvision.config.schema import json_schema

    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
