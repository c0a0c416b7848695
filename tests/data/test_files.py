"""Finding log files: folders, globs, odd names, dates in names, and files that are not what they seem."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import tempfile
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from tests.data.reading import column, read, rows, write

from linkwise.data.files import LogFile, find_files, fingerprint
from linkwise.data.intact import check_intact
from linkwise.errors import InputError

LOG = "user,time\na,2017-03-30\n"


def found(*paths: str | Path) -> list[str]:
    return [file.path.name for file in find_files(paths)]


def test_a_folder_gives_its_logs_in_order_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv.gz", "c/d.JSONL.ZST", "e.parquet", "f.TSV"):
        write(tmp_path / name, LOG)
    for name in (".hidden.csv", ".git/a.csv", "README.txt", "licence.txt", "notes.md", "no_ending"):
        write(tmp_path / name, LOG)
    write(tmp_path / "license_checks.csv", LOG)
    names = ["a.csv.gz", "b.csv", "d.JSONL.ZST", "e.parquet", "f.TSV", "license_checks.csv"]
    assert found(tmp_path) == names
    forms = {file.path.name: (file.format, file.compressed) for file in find_files([tmp_path])}
    assert forms["d.JSONL.ZST"] == ("json", True)
    assert forms["f.TSV"] == ("csv", False)


def test_links_are_followed_once_and_broken_ones_named(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "a.csv", LOG)
    write(tmp_path / "logs" / "b.csv", LOG)
    (tmp_path / "logs" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "logs" / "loop").symlink_to(tmp_path / "logs")
    assert found(tmp_path / "logs") == ["b.csv", "a.csv"]
    (tmp_path / "logs" / "c.csv").symlink_to(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match=r"c\.csv: this is a link to a file that is not there"):
        find_files([tmp_path / "logs"])


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/l\xff.csv"
    with open(path, "w") as out:  # noqa: PTH123 (the name is bytes)
        out.write(LOG)
    with pytest.raises(InputError, match="name is not UTF-8"):
        find_files([tmp_path])


def test_globs_pass_over_what_is_no_log_and_go_into_folders(tmp_path: Path) -> None:
    for name in ("x1.csv", "x2.csv", "x3.md", "x4/y.csv", "z.csv"):
        write(tmp_path / name, LOG)
    assert found(f"{tmp_path}/x*") == ["x1.csv", "x2.csv", "y.csv"]
    assert found(f"{tmp_path}/**/y.csv") == ["y.csv"]
    with pytest.raises(InputError, match="of the 1 matches none is a log"):
        found(f"{tmp_path}/*.md")


def test_each_file_is_read_once(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", LOG)
    write(tmp_path / "b.csv", LOG)
    (tmp_path / "c.csv").symlink_to(tmp_path / "a.csv")
    twice = [tmp_path / "b.csv", tmp_path, tmp_path / ".." / tmp_path.name / "a.csv"]
    assert found(*twice) == ["b.csv", "a.csv"]
    assert read(twice).n_rows == 2


def test_a_linked_folder_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "real" / "a.csv", LOG)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert read(tmp_path / "link").n_rows == 1


@pytest.mark.parametrize(
    "name",
    [
        "it's.csv",
        "a[1].csv",
        "a*b.csv",
        "a?.csv",
        "{a,b}.csv",
        'q"uote.csv',
        "back\\slash.csv",
        "new\nline.csv",
        "k=v/x.csv",
        "~x.csv",
        "ünï ☃.csv",
        "%41.csv",
        "s3:/x.csv",
        "a;DROP.csv",
    ],
)
def test_odd_names_name_one_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / name, "user,time\nright,2017-03-30\n")
    for other in ("a1.csv", "aXb.csv", "aY.csv", "a.csv", "b.csv", "A.csv", "x.csv"):
        if other != name:
            write(tmp_path / other, "user,time\nwrong,2017-03-30\n")
    monkeypatch.chdir(tmp_path)
    assert rows(read(name)) == [{"user": "right", "event": "event", "day": 17255}]
    write(tmp_path / name, "user,time\nright,2017-03-30\nwrong,x\n")
    with pytest.raises(InputError) as error:
        read(Path(name))
    assert str(error.value).startswith(f'{name} line 3: time is "x"')


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("20170330_play.log", date(2017, 3, 30)),
        ("play-2017-03-30.log", date(2017, 3, 30)),
        ("play.2017_03_30.log", date(2017, 3, 30)),
        ("12345678_20170330.log", date(2017, 3, 30)),
        ("play_20170229.log", None),
        ("play_120170330.log", None),
        ("play_00010101.log", None),
        ("play.log", None),
    ],
)
def test_the_date_in_a_name(name: str, day: date | None) -> None:
    assert LogFile(Path("20010101") / name, "csv", False).date == day


def test_what_cannot_be_found_is_said(tmp_path: Path) -> None:
    write(tmp_path / "a.xyz", LOG)
    write(tmp_path / "empty" / "notes.md", "")
    for path, message in [
        (tmp_path / "no.csv", "no such file or folder"),
        (f"{tmp_path}/no/*.csv", "no file matches it"),
        (tmp_path / "a.xyz", "the ending is unknown; expected one of .csv"),
        (tmp_path / "empty", "the folder has no log files"),
        ("/dev/null", "neither a file nor a folder"),
        ("~nobody-of-that-name/a.csv", "no such file"),
    ]:
        with pytest.raises(InputError) as error:
            find_files([path])
        assert str(error.value).startswith(f"{path}: ")
        assert message in str(error.value)
    with pytest.raises(InputError, match="no log files were given"):
        find_files([])


def test_a_file_or_folder_without_permission_is_named() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        secret = write(folder / "secret" / "a.csv", LOG).parent
        secret.chmod(0o000)
        closed = write(folder / "b.csv", LOG)
        closed.chmod(0o000)
        was = os.geteuid()
        if was == 0:  # whom no permission stops
            os.seteuid(65534)
        try:
            for path in (secret, secret / "a.csv", folder):
                with pytest.raises(InputError, match=r"cannot be read.*Permission denied"):
                    find_files([path])
            with pytest.raises(InputError, match=r"b\.csv: this cannot be read \(Permission den"):
                check_intact(find_files([closed]), skip_empty=True)
        finally:
            os.seteuid(was)
            secret.chmod(0o755)


def test_fingerprints_tell_files_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", LOG)
    assert fingerprint(path) == {
        "file": "a.csv",
        "bytes": len(LOG),
        "sha256": hashlib.sha256(LOG.encode()).hexdigest(),
    }
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as stream:  # sparse: 65 MiB that take no room
        stream.truncate(65 * 2**20)
    before = fingerprint(huge)
    with huge.open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"x")
    assert fingerprint(huge) != before


def zstd(text: bytes) -> bytes:
    return bytes(pa.compress(text, codec="zstd", asbytes=True))


def test_compressed_files_hold_the_same_rows(tmp_path: Path) -> None:
    users = [f"u{i}" for i in range(500)]
    log = ("user,time\n" + "".join(f"{user},2017-03-30\n" for user in users)).encode()
    for name, content in [
        ("a.csv", log),
        ("a.csv.gz", gzip.compress(log)),
        ("a.CSV.GZ", gzip.compress(log[:999]) + gzip.compress(log[999:])),
        ("a.csv.zst", zstd(log)),
        ("b.csv.zst", zstd(log[:999]) + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + zstd(log[999:])),
    ]:
        assert column(read(write(tmp_path / name, content)), "user") == users, name


def test_a_compressed_file_that_was_cut_short_is_never_read(tmp_path: Path) -> None:
    rng = random.Random(0)
    log = b"user,time\n" + b"".join(b"%x,2017-03-30\n" % rng.getrandbits(99) for _ in range(20_000))
    for ending, whole in ((".gz", gzip.compress(log)), (".zst", zstd(log))):
        assert len(whole) > 200_000  # more than one block
        for length in (1, 5, 12, len(whole) // 3, len(whole) // 2, len(whole) - 1):
            path = write(tmp_path / f"{length}.csv{ending}", whole[:length])
            with pytest.raises(InputError) as error:
                read(path)
            assert str(error.value).startswith(f"{path}: ")
            assert "cut short" in str(error.value) or "no gzip" in str(error.value) or length == 1
    for length in range(1, len(small := zstd(log[:50]))):
        with pytest.raises(InputError):
            check_intact(find_files([write(tmp_path / "s.csv.zst", small[:length])]), False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", gzip.compress(LOG.encode(), mtime=0), "this is gzip data; name it with .gz"),
        ("a.csv", zstd(LOG.encode()), "this is zstd data; name it with .zst"),
        ("a.csv", b"PAR1....PAR1", "this is Parquet data; name it with .parquet"),
        ("a.csv", b"PK\x03\x04....", "a zip archive or an Excel book"),
        ("a.csv", LOG.encode("utf-16"), "UTF-16 text; turn it into UTF-8"),
        ("a.csv.gz", gzip.compress(LOG.encode("utf-16"), mtime=0), "UTF-16 text"),
        ("a.csv", b"a,b\n\0\0\0", "the file holds NUL bytes"),
        ("a.csv.gz", LOG.encode(), "this is no gzip file"),
        ("a.csv.zst", LOG.encode(), "this is no zstd file"),
        ("a.parquet.gz", gzip.compress(b"PAR1", mtime=0), "Parquet is compressed inside"),
        ("a.csv", b"", "the file is empty. Remove it"),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "the file is empty"),
        ("a.jsonl.zst", zstd(b""), "the file is empty"),
    ],
)
def test_files_in_disguise(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


def test_empty_files_are_passed_over_with_skip(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", "")
    write(tmp_path / "b.csv", LOG)
    assert read(tmp_path, on_bad_row="skip").n_rows == 1
    with pytest.raises(InputError, match="every file of the log is empty"):
        read(tmp_path / "a.csv", on_bad_row="skip")
