"""`streamvision dead-letters`: what sinks refused for good: look at it, have it tried again, drop it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamvision.errors import UsageError

if TYPE_CHECKING:
    from streamvision.sinks.letters import DeadLetter, DeadLetters

app = typer.Typer(no_args_is_help=True, help="Events that a sink refused for good: list, retry, drop.")

Config = Annotated[Path | None, typer.Option("--config", "-c", help="The daemon's configuration file.")]
StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="Its state_dir instead; without both: $STATE_DIRECTORY or ./var.")
]
SinkName = Annotated[str | None, typer.Option("--sink", help="Only those of one sink.")]
EventId = Annotated[str | None, typer.Option("--id", help="Only this event.")]
Share = Annotated[str | None, typer.Option("--shard", help="That of one share of the streams, like 2/8.")]
Every = Annotated[bool, typer.Option("--all", help="All of them.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, one object a line.")]


@app.command("list")
def list_letters(
    config: Config = None,
    state_dir: StateDir = None,
    shard: Share = None,
    sink: SinkName = None,
    event_id: EventId = None,
    as_json: AsJson = False,
) -> None:
    """Show which events were refused, by which sink, when and why, the oldest first.

    Example: streamvision dead-letters list --config config.yaml --sink hook
    """
    found = _known(_letters(config, state_dir, shard), sink, event_id).choose(sink, event_id)
    for letter in found:
        typer.echo(_json(letter) if as_json else _line(letter))
    if not found and not as_json:
        typer.echo("no dead letters", err=True)


@app.command()
def retry(
    config: Config = None,
    state_dir: StateDir = None,
    shard: Share = None,
    sink: SinkName = None,
    event_id: EventId = None,
    every: Every = False,
    as_json: AsJson = False,
) -> None:
    """Have events delivered again under the same ids: by the running daemon within seconds, else at its next start.

    Example: streamvision dead-letters retry --config config.yaml --sink hook
    """
    _demand_choice(sink, event_id, every=every)
    letters = _known(_letters(config, state_dir, shard), sink, event_id)
    _tell("retried", letters.retry(sink, event_id), as_json=as_json)


@app.command()
def drop(
    config: Config = None,
    state_dir: StateDir = None,
    shard: Share = None,
    sink: SinkName = None,
    event_id: EventId = None,
    every: Every = False,
    as_json: AsJson = False,
) -> None:
    """Delete dead letters; the events themselves stay in the event store for as long as it remembers.

    Example: streamvision dead-letters drop --config config.yaml --id 01K...
    """
    _demand_choice(sink, event_id, every=every)
    letters = _known(_letters(config, state_dir, shard), sink, event_id)
    _tell("dropped", letters.drop(sink, event_id), as_json=as_json)


def _demand_choice(sink: str | None, event_id: str | None, *, every: bool) -> None:
    if sink is None and event_id is None and not every:
        raise UsageError("which dead letters?", remedy="give --sink, --id or --all")


def _known(letters: DeadLetters, sink: str | None, event_id: str | None) -> DeadLetters:
    """Return the letters; refuse names that the store has never heard of, so that no slip looks like a success."""
    if sink is not None and sink not in (names := letters.sinks()):
        raise UsageError(f"the event store knows no sink {sink}", remedy=f"it knows: {', '.join(names) or 'none'}")
    if event_id is not None and not letters.choose(None, event_id):
        raise UsageError(f"no dead letter has the id {event_id}", remedy="`dead-letters list` shows which there are")
    return letters


def _tell(what: str, count: int, *, as_json: bool) -> None:
    typer.echo(json.dumps({what: count}) if as_json else f"{count} {what}")


def _letters(config: Path | None, state_dir: Path | None, shard: str | None) -> DeadLetters:
    from streamvision.cli.events import store_folder
    from streamvision.paths import STORE_FILE
    from streamvision.sinks.letters import DeadLetters

    return DeadLetters(store_folder(config, state_dir, shard) / STORE_FILE)


def _line(letter: DeadLetter) -> str:
    when = letter.buried_at.astimezone().isoformat(" ", "seconds")[:19]
    state = "  to be retried" if letter.retry else ""
    return f"{when}  {letter.sink:<16}  {letter.id}  {letter.reason}: {letter.what}{state}"


def _json(letter: DeadLetter) -> str:
    return json.dumps({
        "sink": letter.sink, "id": letter.id, "reason": letter.reason, "what": letter.what,
        "buried_at": letter.buried_at.isoformat(), "retry": letter.retry, "event": json.loads(letter.json),
    }, ensure_ascii=False)  # fmt: skip
