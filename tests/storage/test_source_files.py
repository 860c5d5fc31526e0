"""Outside files are known by their content, and hashed once."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import pytest

from schemas import StudyError
from tasks.storage.source_files import HASHES, _sha256, outside_file, resolve_files


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"same")
    b.write_bytes(b"same")
    assert outside_file(a).sha256 == outside_file(b).sha256 == hashlib.sha256(b"same").hexdigest()
    a.write_bytes(b"another")
    assert outside_file(a).sha256 == hashlib.sha256(b"another").hexdigest()


def test_a_hash_is_kept_by_path_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HASHES, str(tmp_path / "hashes"))
    file = tmp_path / "a"
    file.write_bytes(b"first")
    first, stat = outside_file(file).sha256, file.stat()
    file.write_bytes(b"other")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    _sha256.cache_clear()
    assert outside_file(file).sha256 == first, "size and time are as they were: it is not read again"
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert outside_file(file).sha256 == hashlib.sha256(b"other").hexdigest()


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="nothing.jsonl"):
        outside_file(tmp_path / "nothing.jsonl")
    with pytest.raises(StudyError, match="no file matches"):
        resolve_files(["*.jsonl"], str(tmp_path), "corpus source 'x'")


def test_a_file_that_is_not_to_be_seen_is_an_error_and_a_link_to_nothing_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left out in silence, it would be a smaller corpus."""
    (tmp_path / "a.jsonl").write_text("{}\n")
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "nowhere")
    (tmp_path / "c.jsonl").symlink_to(tmp_path / "c.jsonl")
    (tmp_path / "d.jsonl").mkdir()
    assert [name for name, _ in resolve_files(["*.jsonl"], str(tmp_path), "corpus source 'x'")] == ["a.jsonl"]
    real = os.stat

    def stat(path: str, **options: Any) -> os.stat_result:
        if str(path).endswith("b.jsonl"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, **options)

    monkeypatch.setattr("os.stat", stat)
    with pytest.raises(StudyError, match=r"corpus source 'x'.*cannot be looked up.*Permission denied"):
        resolve_files(["*.jsonl"], str(tmp_path), "corpus source 'x'")


def test_the_folder_of_a_study_may_have_a_name_that_looks_like_a_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "run[1]*"
    folder.mkdir()
    (folder / "a.jsonl").touch()
    assert resolve_files(["*.jsonl"], str(folder), "corpus source 'x'") == [("a.jsonl", folder / "a.jsonl")]


def test_brackets_in_a_name_are_explained_as_the_pattern_that_they_are(tmp_path: Path) -> None:
    """`a[1].jsonl` names a1.jsonl: to read that one in silence would be another corpus."""
    for name in ("a[1].jsonl", "b[2].jsonl", "b2.jsonl"):
        (tmp_path / name).touch()
    for pattern, escaped in (("a[1].jsonl", "a[[]1].jsonl"), ("b[2].jsonl", "b[[]2].jsonl")):
        with pytest.raises(StudyError, match=r"is a file and a pattern; \[ begins a pattern.*" + re.escape(repr(escaped))):
            resolve_files([pattern], str(tmp_path), "corpus source 'x'")
        assert resolve_files([escaped], str(tmp_path), "corpus source 'x'") == [(pattern, tmp_path / pattern)]
    with pytest.raises(StudyError, match=r"no file matches .*\[ begins a pattern, .*'c\[\[\]3\]\*\.jsonl'"):
        resolve_files(["c[3]*.jsonl"], str(tmp_path), "corpus source 'x'")
    assert [name for name, _ in resolve_files(["b[0-9].jsonl"], str(tmp_path), "corpus source 'x'")] == ["b2.jsonl"]
