"""What an archive's files are when a timeline's number was given twice."""

from pathlib import Path

from replication.backup.archive import Archive
from replication.backup.frames import BackupKey
from replication.model import WalName


def test_a_timeline_number_given_twice_sets_the_abandoned_one_aside(tmp_path: Path) -> None:
    archive = Archive(tmp_path, "a", "7", BackupKey(1, b"k" * 32))
    archive.make()
    archive.keep_history(2, "1\t0/5000000\tfirst\n")
    archive.end_segment(WalName(2, 5), *archive.begin_segment(WalName(2, 5)))
    archive.keep_history(2, "1\t0/6000000\tsecond\n")
    assert WalName(2, 5) not in archive.archived().whole
    assert [p.name for p in archive.root.glob("aside-00000002-*/*5")] == [str(WalName(2, 5))]
    assert archive.ancestry(2)[0].end_lsn == 0x6000000


def test_a_segment_begun_twice_gives_its_longest_part_until_it_is_whole(tmp_path: Path) -> None:
    archive = Archive(tmp_path, "a", "7", BackupKey(1, b"k" * 32))
    archive.make()
    name = WalName(1, 3)
    for text in (b"long enough", b"long"):
        _, writer = archive.begin_segment(name)
        writer.write(text)
        writer.cut(durable=False)
        writer.abandon()
    assert archive.read_segment(name) == b"long enough"
    archive.end_segment(name, *archive.begin_segment(name))
    assert archive.parts_of(name) == []
