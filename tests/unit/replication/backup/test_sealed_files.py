"""A sealed file opens only as it was written: same bytes, same order, same end, same place, same key."""

from pathlib import Path

import pytest

from replication.backup.errors import ArchiveBroken
from replication.backup.frames import HEAD_BYTES, HEADER_BYTES, TAG_BYTES, BackupKey
from replication.backup.sealed import FRAME_BYTES, SealedWriter, read_note, read_sealed, write_note

KEY = BackupKey(1, b"k" * 32)
CLEAR = bytes(range(256)) * (3 * FRAME_BYTES // 256) + b"the end"
SEALED_FRAME = HEAD_BYTES + FRAME_BYTES + TAG_BYTES


def a_file(tmp_path: Path, clear: bytes = CLEAR) -> Path:
    path = tmp_path / "sealed"
    writer = SealedWriter(path, KEY, "a|7|base")
    writer.write(clear)
    writer.finish()
    return path


def opened(path: Path, *, key: BackupKey = KEY, context: str = "a|7|base", unfinished: bool = False) -> bytes:
    return b"".join(read_sealed(path, key, context, unfinished=unfinished))


@pytest.mark.parametrize("clear", [b"", b"x", CLEAR, CLEAR[:FRAME_BYTES]], ids=len)
def test_what_was_written_is_read_back(clear: bytes, tmp_path: Path) -> None:
    assert opened(a_file(tmp_path, clear)) == clear


def test_no_clear_byte_run_stands_in_the_file(tmp_path: Path) -> None:
    assert CLEAR[:32] not in a_file(tmp_path).read_bytes()


@pytest.mark.parametrize("at", [0, 9, 20, HEADER_BYTES, HEADER_BYTES + 4, HEADER_BYTES + 99, -1])
def test_refuses_a_flipped_bit_wherever_it_is(at: int, tmp_path: Path) -> None:
    path = a_file(tmp_path)
    sealed = bytearray(path.read_bytes())
    sealed[at] ^= 1
    path.write_bytes(sealed)
    with pytest.raises(ArchiveBroken):
        opened(path)


@pytest.mark.parametrize("frames_left", [0, 1, 3], ids=["only the header", "one frame", "all but the final"])
def test_refuses_a_file_cut_between_two_frames(frames_left: int, tmp_path: Path) -> None:
    path = a_file(tmp_path)
    path.write_bytes(path.read_bytes()[: HEADER_BYTES + frames_left * SEALED_FRAME])
    with pytest.raises(ArchiveBroken, match="cut off"):
        opened(path)


def test_refuses_two_frames_that_changed_places(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    sealed = path.read_bytes()
    first, second = (sealed[HEADER_BYTES + n * SEALED_FRAME :][:SEALED_FRAME] for n in (0, 1))
    rest = sealed[HEADER_BYTES + 2 * SEALED_FRAME :]
    path.write_bytes(sealed[:HEADER_BYTES] + second + first + rest)
    with pytest.raises(ArchiveBroken, match="frame 0 was changed or moved"):
        opened(path)


def test_refuses_a_frame_of_another_file_with_the_same_name(tmp_path: Path) -> None:
    one, other = a_file(tmp_path), tmp_path / "other"
    writer = SealedWriter(other, KEY, "a|7|base")
    writer.write(CLEAR)
    writer.finish()
    mixed = (
        one.read_bytes()[: HEADER_BYTES + SEALED_FRAME] + other.read_bytes()[HEADER_BYTES + SEALED_FRAME :]
    )
    one.write_bytes(mixed)
    with pytest.raises(ArchiveBroken, match="frame 1"):
        opened(one)


def test_refuses_what_follows_the_final_frame(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ArchiveBroken, match="follows"):
        opened(path)


@pytest.mark.parametrize("context", ["b|7|base", "a|8|base", "a|7|bases"])
def test_refuses_a_file_of_another_cell_system_or_name(context: str, tmp_path: Path) -> None:
    with pytest.raises(ArchiveBroken):
        opened(a_file(tmp_path), context=context)


def test_refuses_another_key_and_another_key_version(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    with pytest.raises(ArchiveBroken, match="changed or moved"):
        opened(path, key=BackupKey(1, b"j" * 32))
    with pytest.raises(ArchiveBroken, match="key version 1, held is 2"):
        opened(path, key=BackupKey(2, b"k" * 32))


def test_an_unfinished_file_gives_its_whole_frames_and_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "part"
    writer = SealedWriter(path, KEY, "a|7|base")
    writer.write(b"first")
    writer.cut(durable=False)
    writer.write(b"second")
    writer.cut(durable=False)
    writer.abandon()
    path.write_bytes(path.read_bytes()[:-1])
    assert opened(path, unfinished=True) == b"first"
    with pytest.raises(ArchiveBroken, match="cut off"):
        opened(path)


def test_a_file_that_exists_is_never_written_over(tmp_path: Path) -> None:
    path = a_file(tmp_path)
    with pytest.raises(FileExistsError):
        SealedWriter(path, KEY, "a|7|base")


def test_a_note_opens_only_unchanged_and_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_note(path, KEY, "a|7|note.json", {"stop_lsn": 10}, durable=False)
    assert read_note(path, KEY, "a|7|note.json") == {"stop_lsn": 10}
    with pytest.raises(ArchiveBroken, match="belongs elsewhere"):
        read_note(path, KEY, "b|7|note.json")
    path.write_text(path.read_text().replace("10", "11"))
    with pytest.raises(ArchiveBroken, match="was changed"):
        read_note(path, KEY, "a|7|note.json")
