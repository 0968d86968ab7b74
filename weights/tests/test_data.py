import gzip

import pytest
from phishcnn_train.data import DataError, read_rows, select
from phishcnn_train.prepare import clean, prepare


def test_reads_labels_columns_and_gzip(tmp_path):
    body = b"0\thttp://a.org/\n\nphishing\thttp://b.xyz/\xff\tsrc\t2024-01\tb.xyz\tweak,long\r\nLegitimate\tc.net\n"
    (tmp_path / "a.tsv").write_bytes(body)
    with gzip.open(tmp_path / "a.tsv.gz", "wb") as out:
        out.write(body)
    for name in ("a.tsv", "a.tsv.gz"):
        rows = read_rows(tmp_path / name)
        assert rows.labels.tolist() == [0, 1, 0]
        assert rows.urls == [b"http://a.org/", b"http://b.xyz/\xff", b"c.net"]
        assert rows.months[1] == "2024-01" and rows.tags[1] == {"weak", "long"}


@pytest.mark.parametrize(
    "line, problem", [("just-a-url", "one column"), ("2\thttp://a/", "unknown label '2'"), ("1\t ", "empty URL")]
)
def test_bad_rows_name_file_and_line(tmp_path, line, problem):
    (tmp_path / "bad.txt").write_text(f"0\thttp://fine.org/\n{line}\n")
    with pytest.raises(DataError, match=rf"bad\.txt:2: .*{problem}"):
        read_rows(tmp_path / "bad.txt")


def test_missing_broken_and_empty_files(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        read_rows(tmp_path / "nowhere.tsv")
    (tmp_path / "broken.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="broken"):
        read_rows(tmp_path / "broken.gz")
    (tmp_path / "empty.tsv").write_text("\n")
    with pytest.raises(DataError, match="no rows"):
        read_rows(tmp_path / "empty.tsv")


def test_select_filters_and_pools(tmp_path):
    (tmp_path / "a").write_text("0\tx\ts\tm\tg\tlogin\n1\ty\ts\tm\tg\tseen\n1\tz\n")
    assert select(f"{tmp_path}/a:label=1:without=seen,{tmp_path}/a:with=login").urls == [b"z", b"x"]
    assert select(f"{tmp_path}/a:every=2").urls == [b"x", b"z"]
    with pytest.raises(DataError, match="unknown filter"):
        select(f"{tmp_path}/a:month=3")


def test_clean_drops_duplicates_contradictions_and_one_sided_rows(tmp_path):
    urls = [
        (0, "http://www.a.org/"),
        (0, "https://A.org"),  # the same
        (0, "http://b.org/x"),
        (1, "https://b.org/x"),  # contradictory
        (1, "http://c.org/?token=1"),
        (0, "http://d.org/?p=1&KEY=2"),
        (0, "http://casino.org/"),  # one-sided
        (1, "http://e.org/monkey=1"),
        (1, "http://f.org/"),
    ]
    (tmp_path / "a").write_text("".join(f"{label}\t{url}\n" for label, url in urls))
    kept = clean(read_rows(tmp_path / "a"), log=lambda _: None)
    assert kept.urls == [b"http://www.a.org/", b"http://e.org/monkey=1", b"http://f.org/"]


def test_prepare_weighs_and_finds_parts(tmp_path, compact):
    (tmp_path / "a").write_text("0\thttp://bank.com/a?b\ts\t2020\tg\tlogin\n1\tx.org\ts\t2020\tg\tweak\n0\ty.org/#f\n")
    tokens = prepare(read_rows(tmp_path / "a"), compact)
    assert tokens.lengths.tolist() == [12, 5, 8]
    assert tokens.path_start.tolist() == [8, 5, 5]
    assert tokens.query_start.tolist() == [10, 5, 6]
    assert tokens.weights.tolist() == pytest.approx([3.0, 0.5, 1.0])
    assert tokens.labels.tolist() == pytest.approx([0.0, 0.9, 0.0])
