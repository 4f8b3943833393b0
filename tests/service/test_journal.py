"""Records for the journal, received at a real datagram socket as journald would."""

from __future__ import annotations

import array
import io
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from streamvision import journal
from streamvision.journal import Journal, JournalLogger, encode, field_name, fields_of, goes_to_journal, prefixed

ROOT = Path(__file__).parents[2]


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(30)
        yield listener


def received(journald: socket.socket) -> dict[str, str]:
    """Take one record off the socket: from the datagram, or from the sealed memory that it carries."""
    data, ancillary, _, _ = journald.recvmsg(1 << 20, socket.CMSG_SPACE(4))
    for _, _, payload in ancillary:
        descriptor = array.array("i", payload)[0]
        with os.fdopen(descriptor, "rb") as memory:
            memory.seek(0)
            data = memory.read()
    return decoded(data)


def decoded(data: bytes) -> dict[str, str]:
    """Read the native protocol, as https://systemd.io/JOURNAL_NATIVE_PROTOCOL/ says."""
    fields, file = {}, io.BytesIO(data)
    while line := file.readline():
        name, equals, value = line.rstrip(b"\n").partition(b"=")
        if not equals:
            value = file.read(int.from_bytes(file.read(8), "little"))
            assert file.read(1) == b"\n"
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def line(journald: socket.socket) -> Iterator[Journal]:
    journal = Journal(journald.getsockname())
    yield journal
    journal.close()


def logger(line: Journal) -> structlog.typing.FilteringBoundLogger:
    parameter = structlog.processors.CallsiteParameter
    return structlog.wrap_logger(
        JournalLogger(line),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.CallsiteParameterAdder([parameter.PATHNAME, parameter.LINENO, parameter.FUNC_NAME]),
            structlog.processors.format_exc_info,
            journal.renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3"), ("critical", "2")]
)
def test_a_record_has_its_priority_and_its_fields(journald: socket.socket, line: Journal, level: str, priority: str):
    getattr(logger(line), level)("no picture", stream="gate", rule="intruder", sink="hook", wait_s=2)
    record = received(journald)
    assert record["MESSAGE"] == "no picture stream=gate rule=intruder sink=hook wait_s=2"
    assert record["PRIORITY"] == priority
    assert (record["STREAM"], record["RULE"], record["SINK"], record["WAIT_S"]) == ("gate", "intruder", "hook", "2")
    assert record["SYSLOG_IDENTIFIER"] == "streamvision"
    assert record["CODE_FILE"] == __file__
    assert record["CODE_FUNC"] == "test_a_record_has_its_priority_and_its_fields"
    assert record["CODE_LINE"].isdigit()


def test_a_traceback_is_in_the_message(journald: socket.socket, line: Journal):
    try:
        raise RuntimeError("tracker fell over")
    except RuntimeError as error:
        logger(line).error("stage stopped", exc_info=error)
    first, *rest = received(journald)["MESSAGE"].splitlines()
    assert first == "stage stopped"
    assert rest[-1] == "RuntimeError: tracker fell over"


def test_what_is_too_large_for_a_datagram_goes_as_sealed_memory(journald: socket.socket, line: Journal):
    text = "é" * 1_000_000
    logger(line).info("large", text=text)
    assert received(journald)["TEXT"] == text


def test_a_journal_that_was_restarted_is_found_again(tmp_path: Path):
    address = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as first:
        first.bind(address)
        line = Journal(address)
    os.unlink(address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        second.bind(address)
        second.settimeout(30)
        line.send({"MESSAGE": "again"})
        assert received(second) == {"MESSAGE": "again"}
    line.close()


def test_a_journal_that_is_gone_costs_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        line = Journal(listener.getsockname())
    logger(line).warning("two\nlines", stream="gate")
    line.close()
    assert capsys.readouterr().err == "<4>two\n<4>lines stream=gate\n"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("stream", "STREAM"),
        ("_private", "PRIVATE"),
        ("2nd", "N_2ND"),
        ("märz", "M_RZ"),
        ("", "FIELD"),
        ("a" * 80, "A" * 64),
    ],
)
def test_field_names_are_what_the_journal_allows(key: str, name: str):
    assert field_name(key) == name


def test_a_key_cannot_pose_as_one_of_the_journal():
    fields = fields_of(
        {"event": "hello", "level": "info", "message": "x", "priority": 0, "code_file": "y", "syslog_pid": 1}
    )
    assert fields["MESSAGE"].startswith("hello ")
    assert fields["PRIORITY"] == "6"
    assert {"STREAMVISION_MESSAGE", "STREAMVISION_PRIORITY", "STREAMVISION_CODE_FILE"} <= fields.keys()
    assert "CODE_FILE" not in fields


def test_values_with_line_feeds_cannot_add_fields():
    assert decoded(encode({"A": "x\nPRIORITY=0", "B": "y"})) == {"A": "x\nPRIORITY=0", "B": "y"}


def test_only_the_journals_own_stream_is_taken_for_it(tmp_path: Path):
    with (tmp_path / "log").open("w") as stream:
        found = os.fstat(stream.fileno())
        here = f"{found.st_dev}:{found.st_ino}"
        assert goes_to_journal(stream, {"JOURNAL_STREAM": here})
        assert not goes_to_journal(stream, {"JOURNAL_STREAM": f"{here}0"})
        assert not goes_to_journal(stream, {})
    assert not goes_to_journal(stream, {"JOURNAL_STREAM": here})
    assert not goes_to_journal(io.StringIO(), {"JOURNAL_STREAM": here})


def test_lines_of_a_record_without_a_socket_have_priorities():
    assert prefixed({"MESSAGE": "a\nb", "PRIORITY": "3"}) == "<3>a\n<3>b"


PROGRAM = """
import sys
from streamvision import journal
journal.Journal.__init__.__defaults__ = (sys.argv[1],)
import structlog
from streamvision.cli.logs import LogFormat, set_up
set_up(LogFormat(sys.argv[2]))
structlog.get_logger().warning("camera away", stream="gate")
"""


def log_from_a_process(folder: Path, chosen: str, *, to_journal: bool) -> str:
    """Log a line from a process whose standard error may be said to be the journal's; return what came there."""
    path = folder / "stderr"
    with path.open("w") as stream:
        found = os.fstat(stream.fileno())
        env = {**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}" if to_journal else "1:1"}
        command = [sys.executable, "-c", PROGRAM, str(folder / "journal"), chosen]
        subprocess.run(command, stderr=stream, env=env, cwd=ROOT, timeout=120, check=False)
    return path.read_text()


@pytest.mark.parametrize(("chosen", "to_journal"), [("auto", True), ("journal", True), ("journal", False)])
def test_a_process_logs_natively(journald: socket.socket, tmp_path: Path, chosen: str, to_journal: bool):
    assert log_from_a_process(tmp_path, chosen, to_journal=to_journal) == ""
    record = received(journald)
    assert (record["MESSAGE"], record["PRIORITY"], record["STREAM"]) == ("camera away stream=gate", "4", "gate")


def test_a_process_without_the_journals_socket_writes_priorities(tmp_path: Path):
    assert log_from_a_process(tmp_path, "auto", to_journal=True) == "<4>camera away stream=gate\n"


def test_a_process_on_another_stream_writes_text(journald: socket.socket, tmp_path: Path):
    assert "camera away" in (text := log_from_a_process(tmp_path, "auto", to_journal=False))
    assert not text.startswith("<")


def test_a_journal_that_is_asked_for_and_missing_is_an_error(tmp_path: Path):
    assert "MissingError" in (text := log_from_a_process(tmp_path, "journal", to_journal=False))
    assert "use --log-format text or json" in text
