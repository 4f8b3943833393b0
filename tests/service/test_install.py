"""Installing the service into a folder instead of a machine: what is written, shown, kept, and taken away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import streamvision
from streamvision.cli import main
from streamvision.config import load_settings
from streamvision.install import Choice, drop_ins, installation
from streamvision.install.units import quoted, rendered
from streamvision.resources import shipped

UNITS = Path("etc/systemd/system")
SYSTEMD = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def install(root: Path, *arguments: str) -> int:
    """Run the command; return its exit code."""
    try:
        main(["install-service", "--root", str(root), *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def tree(root: Path) -> dict[str, str]:
    """Everything below a root: files with content, links with target."""
    return {
        str(path.relative_to(root)): f"-> {os.readlink(path)}" if path.is_symlink() else path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_the_service_is_put_in_place(tmp_path: Path):
    assert install(tmp_path) == 0
    found = tree(tmp_path)
    assert found.keys() == {
        "etc/streamvision/config.yaml",
        "etc/systemd/system/streamvision.service",
        "etc/systemd/system/multi-user.target.wants/streamvision.service",
    }
    program = Path(sys.executable).with_name("streamvision")
    assert f"ExecStart={program} run /etc/streamvision/config.yaml\n" in found[str(UNITS / "streamvision.service")]
    assert (tmp_path / "etc/streamvision/credentials").stat().st_mode & 0o777 == 0o700


def test_a_second_time_changes_nothing_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    install(tmp_path, "--drop-in", "v4l2")
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()
    assert install(tmp_path, "--drop-in", "v4l2") == 0
    assert capsys.readouterr().out == "nothing to change: the service is in place\n"
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_dry_run_shows_a_patch_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert install(tmp_path, "--dry-run", "--drop-in", "nvidia") == 0
    shown = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert "--- /dev/null\n" in shown
    assert "+DeviceAllow=char-nvidia* rw\n" in shown
    assert f"link {tmp_path / UNITS}/multi-user.target.wants/streamvision.service -> " in shown


def test_a_dry_run_on_an_older_unit_shows_only_the_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    install(tmp_path)
    unit = tmp_path / UNITS / "streamvision.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=60s", "WatchdogSec=10s"))
    capsys.readouterr()
    install(tmp_path, "--dry-run")
    changed = [
        line for line in capsys.readouterr().out.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    assert changed == ["-WatchdogSec=10s", "+WatchdogSec=60s"]


def test_a_configuration_is_never_overwritten(tmp_path: Path):
    own = tmp_path / "etc/streamvision/config.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("streams: []  # mine\n")
    other = tmp_path / "other.yaml"
    other.write_text("streams: []\n")
    assert install(tmp_path, "--config", str(other)) == 0
    assert own.read_text() == "streams: []  # mine\n"


def test_a_configuration_is_taken_where_there_is_none(tmp_path: Path):
    given = tmp_path / "mine.yaml"
    given.write_text("streams: [{id: gate, url: demo:street}]\n")
    assert install(tmp_path, "--config", str(given)) == 0
    assert (tmp_path / "etc/streamvision/config.yaml").read_text() == given.read_text()


def test_a_state_dir_that_the_service_cannot_write_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    given = tmp_path / "mine.yaml"
    given.write_text("state_dir: ./var\nstreams: [{id: gate, url: demo:street}]\n")
    install(tmp_path, "--config", str(given))
    assert "leave state_dir out" in capsys.readouterr().err


def test_a_copy_that_more_people_can_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    mine = tmp_path / "mine.yaml"
    mine.write_text("streams: [{id: a, url: 'rtsp://u:secret@10.0.0.1/'}]\n")
    for mode, told in ((0o644, False), (0o640, True)):
        mine.chmod(mode)
        root = tmp_path / f"{mode:o}"
        assert install(root, "--config", str(mine)) == 0
        said = capsys.readouterr().err
        assert ("/etc/streamvision/credentials" in said) is told
        assert "secret@" not in said


def test_a_configuration_of_other_bytes_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    there = tmp_path / "root/etc/streamvision/config.yaml"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"streams: [] # \xff\n")
    mine = tmp_path / "mine.yaml"
    mine.write_text("streams: []\n")
    assert install(tmp_path / "root", "--config", str(mine)) == 0
    assert "stays as it is" in capsys.readouterr().err
    assert there.read_bytes() == b"streams: [] # \xff\n"


def test_shards_and_one_service_take_each_others_place(tmp_path: Path):
    install(tmp_path)
    install(tmp_path, "--shards", "3")
    units = tmp_path / UNITS
    links = {path.name for path in (units / "streamvision.target.wants").iterdir()}
    assert links == {"streamvision@1-3.service", "streamvision@2-3.service", "streamvision@3-3.service"}
    assert not (units / "streamvision.service").exists()
    assert not os.path.lexists(units / "multi-user.target.wants/streamvision.service")
    install(tmp_path, "--shards", "2")
    links = {path.name for path in (units / "streamvision.target.wants").iterdir()}
    assert links == {"streamvision@1-2.service", "streamvision@2-2.service"}
    install(tmp_path)
    assert not (units / "streamvision.target").exists()
    assert list((units / "streamvision.target.wants").iterdir()) == []


def test_uninstalling_keeps_what_is_the_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    install(tmp_path, "--drop-in", "v4l2")
    mine = tmp_path / UNITS / "streamvision.service.d/mine.conf"
    mine.write_text("[Service]\nCPUQuota=50%\n")
    assert install(tmp_path, "--uninstall") == 0
    assert tree(tmp_path).keys() == {"etc/streamvision/config.yaml", str(mine.relative_to(tmp_path))}
    capsys.readouterr()
    assert install(tmp_path, "--uninstall") == 0
    assert capsys.readouterr().out == "nothing to change: the service is not installed\n"


def test_uninstalling_keeps_a_changed_drop_in_of_any_bytes(tmp_path: Path):
    install(tmp_path, "--drop-in", "v4l2")
    changed = tmp_path / UNITS / "streamvision.service.d/v4l2.conf"
    changed.write_bytes("# für die Tür\n".encode("latin-1"))
    assert install(tmp_path, "--uninstall") == 0
    assert changed.read_bytes() == b"# f\xfcr die T\xfcr\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--drop-in", "v4l3"], 2, "there is no drop-in 'v4l3'"),
        (["--config", "/nowhere.yaml"], 2, "/nowhere.yaml"),
        (["--shards", "-1"], 2, "--shards"),
    ],
)
def test_wrong_arguments(
    tmp_path: Path, arguments: Sequence[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
):
    assert install(tmp_path, *arguments) == code
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_rights_it_says_what_to_do(tmp_path: Path):
    """As another user on the real root: nothing can be written there, whatever goes wrong."""
    if os.geteuid() != 0:
        command = [sys.executable, "-m", "streamvision", "install-service"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        said, code = done.stderr, done.returncode
    else:
        said, code = _as_nobody("main(['install-service'])")
    assert code == 3
    assert "only root can install a service" in said
    assert "sudo" in said


def _as_nobody(statement: str) -> tuple[str, int]:
    """Import all that it needs as root, then become nobody; in a copy of ours that everybody may read."""
    script = (
        "import contextlib, os, streamvision.install.manager\nfrom streamvision.cli import main\n"
        "with contextlib.suppress(SystemExit):\n    main(['install-service', '--root', '/nowhere', '--dry-run'])\n"
        f"os.setuid(65534)\n{statement}"
    )
    package = Path(streamvision.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        shutil.copytree(package, Path(folder) / package.name)
        shutil.copytree(shipped("systemd"), Path(folder) / "systemd")
        (Path(folder) / "pyproject.toml").touch()  # which says that the folders lie beside the package
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "PYTHONPATH": folder}, cwd=folder,
        )  # fmt: skip
    return done.stderr, done.returncode


def test_a_user_that_is_not_there_is_told():
    command = [sys.executable, "-m", "streamvision", "install-service", "--dry-run", "--user", "nobody-of-that-name"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3
    assert "useradd --system nobody-of-that-name" in done.stderr


@pytest.mark.parametrize(
    ("word", "written"),
    [("/opt/x", "/opt/x"), ("/opt/a b", '"/opt/a b"'), ("/opt/50%", "/opt/50%%"), ('/o"$', '"/o\\"$$"')],
)
def test_words_are_quoted_as_systemd_reads_them(word: str, written: str):
    assert quoted(word) == written


def test_a_program_in_a_home_folder_is_visible():
    unit = (shipped("systemd") / "streamvision.service").read_text()
    assert "ProtectHome=read-only" in rendered(unit, Choice(("/home/me/venv/bin/streamvision",), ""))
    assert "ProtectHome=yes" in rendered(unit, Choice(("/srv/home/streamvision",), ""))


def test_another_user_takes_the_dynamic_ones_place():
    unit = (shipped("systemd") / "streamvision.service").read_text()
    own = rendered(unit, Choice(("/x",), "", user="cameras"))
    assert "DynamicUser=no\nUser=cameras\n" in own


def analyse(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=120, check=False)


@SYSTEMD
@pytest.mark.parametrize("unit", ["streamvision.service", "streamvision@2-3.service", "streamvision.target"])
def test_what_is_installed_passes_systemds_own_check(tmp_path: Path, unit: str):
    install(tmp_path, "--shards", "0" if unit == "streamvision.service" else "3")
    path = tmp_path / UNITS / unit
    if "@" in unit:
        path.symlink_to("streamvision@.service")
    done = analyse("verify", "--man=no", str(path))
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) not in done.stderr


@SYSTEMD
def test_systemd_sees_it_enabled(tmp_path: Path):
    install(tmp_path, "--shards", "2")
    for unit in ("streamvision.target", "streamvision@1-2.service"):
        asked = ["systemctl", f"--root={tmp_path}", "is-enabled", unit]
        assert subprocess.run(asked, capture_output=True, text=True, check=False).stdout == "enabled\n"


@SYSTEMD
@pytest.mark.parametrize("extra", [None, *drop_ins()])
def test_the_service_is_hardly_exposed(tmp_path: Path, extra: str | None):
    """At most 1.5 of 10 by systemd's own judgement, also with any of the shipped drop-ins."""
    unit = tmp_path / "streamvision.service"
    shutil.copy(shipped("systemd") / unit.name, unit)
    if extra is not None:
        (tmp_path / "streamvision.service.d").mkdir()
        shutil.copy(
            shipped("systemd") / "streamvision.service.d" / f"{extra}.conf", tmp_path / "streamvision.service.d"
        )
    judged = analyse("security", "--offline=true", "--threshold=15", "--no-pager", str(unit))
    assert judged.returncode == 0, judged.stdout
    checked = analyse("verify", "--man=no", str(unit))
    assert "Unknown" not in checked.stderr


def test_shards_are_as_well_protected_as_the_one_service():
    one, each = (
        (shipped("systemd") / name).read_text().partition("[Service]")[2].partition("[Install]")[0]
        for name in ("streamvision.service", "streamvision@.service")
    )
    assert each.replace(" --shard %i", "") == one


def test_the_first_configuration_is_right(tmp_path: Path):
    install(tmp_path)
    settings = load_settings(
        tmp_path / "etc/streamvision/config.yaml", env={"STATE_DIRECTORY": "/var/lib/streamvision"}
    )
    assert settings.state_dir == Path("/var/lib/streamvision")
    assert [stream.id for stream in settings.streams] == ["demo"]


def test_steps_into_a_root_never_leave_it(tmp_path: Path):
    steps = installation(Choice(("/x",), "streams: []", shards=2, extras=("nvidia",)), tmp_path)
    assert all(step.path.is_relative_to(tmp_path) for step in steps)
