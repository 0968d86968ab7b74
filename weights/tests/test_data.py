import dataclasses
import gzip
import shutil
import sys
from collections import Counter

import numpy as np
import phishcnn
import pytest
from conftest import WEIGHTS
from phishcnn_train import sign_in, top_sites
from phishcnn_train.__main__ import main
from phishcnn_train.data import DataError, Rows, pool, read_rows, select
from phishcnn_train.groups import group_of, host_of, split
from phishcnn_train.params import Params
from phishcnn_train.prepare import HABIT, canonical, clean, habits, held_out, prepare
from phishcnn_train.teach import taught
from phishcnn_train.tokens import sampling, tokens_of, weigh


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
    "line, problem",
    [("just-a-url", "one column"), ("2\thttp://a/", "unknown label '2'"), ("1\t ", "empty URL")]
    + [(f"1\thttp://a/\ts\t{m}", f"the month is '{m}'") for m in ("09/2024", "2024-13", "2024-9", "2024-09-03", "24")],
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
    (tmp_path / "a").write_text("0\tx\ts\t\tg\tlogin\n1\ty\ts\t\tg\tseen\n1\tz\n")
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


@pytest.mark.parametrize("name", ["access_token", "Signature", "PWD", "apikey"])
def test_parameters_that_were_filtered_from_one_class_alone(tmp_path, name):
    (tmp_path / "a").write_text(f"1\thttp://a.org/?x=1&{name}=2\n1\thttp://b.org/?my{name}=2\n0\thttp://c.org/\n")
    assert clean(read_rows(tmp_path / "a"), log=lambda _: None).urls == [
        f"http://b.org/?my{name}=2".encode(),
        b"http://c.org/",
    ]


def test_what_a_collector_chose_is_left_out_behind_its_first_rows(tmp_path):
    n = HABIT + 5

    def dropped(*lines: str) -> list[bytes]:
        other = [f"0\thttps://o{i}.org/?page={i}\tother\t\to{i}.org" for i in range(3 * n)]
        rows = rows_of(tmp_path, [*lines, *other])
        return [rows.urls[i] for i in np.flatnonzero(habits(rows))]

    def found(source: str, query: str, label: int = 0) -> list[str]:
        hosts = [f"{source or 'none'}{i}.org" for i in range(n)]
        return [f"{label}\thttps://{host}/{query}\t{source}\t\t{host}" for host in hosts]

    chosen = found("bangs", "?q=python+csv")
    assert dropped(*chosen) == [f"https://bangs{i}.org/?q=python+csv".encode() for i in range(HABIT, n)]
    assert dropped(*chosen[:HABIT]) == []
    assert dropped(*chosen, *found("links", "#q=python+csv")) == []  # nobody's choice
    assert dropped(*found("", "?q=python+csv")) == []  # no source to compare with
    assert dropped(*found("feed", "?q=python+csv", 1)) == []  # a campaign
    one_domain = [f"0\thttps://a.org/{i}?q=python+csv\tbangs\t\ta.org" for i in range(n)]
    assert dropped(*one_domain) == []
    alone = rows_of(tmp_path, chosen)
    assert not habits(alone).any()  # a single collection


def test_prepare_weighs_and_finds_parts(tmp_path, compact):
    (tmp_path / "a").write_text("0\thttp://bank.com/a?b\ts\t2020\tg\tlogin\n1\tx.org\ts\t2020\tg\tweak\n0\ty.org/#f\n")
    tokens = tokens_of(read_rows(tmp_path / "a"), compact)
    assert tokens.lengths.tolist() == [12, 5, 8]
    assert tokens.path_start.tolist() == [8, 5, 5]
    assert tokens.query_start.tolist() == [10, 5, 6]
    assert tokens.weights.tolist() == pytest.approx([3.0, 0.5, 1.0])
    assert tokens.labels.tolist() == pytest.approx([0.0, 0.9, 0.0])


@pytest.mark.parametrize(
    "url, group",
    [
        ("https://www.Shop.Example.co.uk:8443/a@b", "example.co.uk"),
        ("http://user:p@ss@x.github.io/", "x.github.io"),  # a private suffix of publicsuffix.org's list
        ("github.io", "github.io"),
        ("http://192.0.2.7:80/x", "192.0.2.7"),
        ("http://[2001:db8::1]:81/", "[2001:db8::1]"),
        ("localhost/x", "localhost"),
        ("http://bank.com.evil.xyz/login?next=https://bank.com/", "evil.xyz"),
        ("ftp://evil.xyz/?https://bank.com", "evil.xyz"),
    ],
)
def test_groups_are_registered_domains(url, group):
    assert group_of(url.encode()) == group


def rows_of(tmp_path, lines):
    (tmp_path / "rows").write_text("".join(line + "\n" for line in lines))
    return read_rows(tmp_path / "rows")


def test_split_keeps_domains_apart_and_phishing_in_order(tmp_path):
    lines = [f"{i % 2}\thttp://h{i // 4}.org/{i}\ts\t2024-{1 + i // 4 % 12:02}\th{i // 4}.org" for i in range(4000)]
    rows = rows_of(tmp_path, lines)
    sides = split(rows)
    assert sum(s.sum() for s in sides.values()) == len(rows)
    groups = {name: {rows.groups[i] for i in np.flatnonzero(side)} for name, side in sides.items()}
    assert not groups["train"] & groups["test"] and not groups["train"] & groups["valid"] and groups["valid"]
    sides = split(rows, "2024-09", "2024-11")
    months = {name: {rows.months[i] for i in np.flatnonzero(side & (rows.labels == 1))} for name, side in sides.items()}
    assert max(months["train"]) == "2024-08" and months["valid"] == {"2024-09", "2024-10"}
    assert months["test"] == {"2024-11", "2024-12"}
    honest = {name: {rows.groups[i] for i in np.flatnonzero(side & (rows.labels == 0))} for name, side in sides.items()}
    assert not honest["train"] & honest["test"]


def test_phishing_that_goes_on_for_months_lies_on_its_last_side(tmp_path):
    months = ("2024-03", "2024-09", "2024-11")
    lines = [f"1\thttp://h{i}.org/{m}\ts\t{m}\th{i}.org" for i in range(300) for m in months[: 1 + i % 3]]
    lines += [f"1\thttp://y{i}.org/\ts\t{('2023', '2024', '2025')[i % 3]}\ty{i}.org" for i in range(300)]
    lines += [f"1\thttp://u{i}.org/\ts\t\tu{i % 100}.org" for i in range(300)]
    lines += [f"0\thttp://h{i}.org/honest\ts\t\th{i}.org" for i in range(300)]
    rows = rows_of(tmp_path, lines)
    sides = split(rows, "2024-09", "2024-11")
    phishing = {name: {rows.groups[i] for i in np.flatnonzero(s & (rows.labels == 1))} for name, s in sides.items()}
    dated = {name: {g for g in found if g[0] != "u"} for name, found in phishing.items()}
    last = [{f"h{i}.org" for i in range(k, 300, 3)} for k in range(3)]
    year = [{f"y{i}.org" for i in range(k, 300, 3)} for k in range(3)]
    assert dated == {"train": last[0] | year[0], "valid": last[1], "test": last[2] | year[2]}
    assert not phishing["train"] & phishing["test"] and not phishing["train"] & phishing["valid"]
    assert sum(int(s[rows.labels == 0].sum()) for s in sides.values()) == 300


def test_a_side_without_both_classes_is_refused_and_nothing_is_written(tmp_path, capsys):
    lines = [f"{i % 2}\thttp://h{i}.org/\ts\t2024-{1 + i % 8:02}\th{i}.org" for i in range(400)]
    rows_of(tmp_path, lines)
    command = ["split", f"{tmp_path}/rows", "-o", f"{tmp_path}/data"]
    assert main([*command, "--valid-from", "2024-10", "--test-from", "2024-11"]) == 1
    assert f"{tmp_path}/data/valid.tsv.gz: 0 phishing and " in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    assert main(command) == 0 and "these rows have months" in capsys.readouterr().out
    assert len(read_rows(*(tmp_path / "data" / f"{name}.tsv.gz" for name in ("train", "valid", "test")))) == 400


def test_what_the_product_refuses_is_left_out_and_counted(tmp_path, capsys):
    """A URL that is too long stopped the pipeline, or had to have a group to come through."""
    long = "1\thttp://long.org/" + "a" * 70_000
    rows_of(tmp_path, [f"{i % 2}\thttp://h{i}.org/" for i in range(400)] + [long, long + "\ts\t\tlong.org"])
    assert main(["split", f"{tmp_path}/rows", "-o", f"{tmp_path}/data"]) == 0
    assert (
        f"{tmp_path}/rows: 2 rows left out whose URLs the product refuses: b'http://long.org" in capsys.readouterr().out
    )
    (tmp_path / "valid").write_text(f"0\thttp://a.org/\n1\thttp://b.org/\n{long}\ts\t\tlong.org\n1\thttp://\n")
    said = []
    prepare([tmp_path / "data" / "train.tsv.gz"], [tmp_path / "valid"], tmp_path / "out", log=said.append)
    assert read_rows(tmp_path / "out" / "valid.tsv.gz").urls == [b"http://a.org/", b"http://b.org/", b"http://"]
    assert said[0].startswith(f"{tmp_path}/valid: 1 rows left out")
    (tmp_path / "valid").write_text(f"0\thttp://a.org/\n{long}\n")
    with pytest.raises(DataError, match="valid: 0 phishing and 1 legitimate rows; both are needed"):
        prepare([tmp_path / "data" / "train.tsv.gz"], [tmp_path / "valid"], tmp_path / "out", log=said.append)


def test_prepare_tells_collected_rows_from_made_up_ones(tmp_path, compact):
    rows_of(tmp_path, [f"{i % 2}\thttp://h{i}.org/" for i in range(400)])
    (tmp_path / "valid").write_text("0\thttp://a.org/\n1\thttp://b.org/\n")
    said = []
    prepare([tmp_path / "rows"], [tmp_path / "valid"], tmp_path / "out", log=said.append)
    train = read_rows(tmp_path / "out" / "train.tsv.gz")
    made = sign_in.made_up(train)
    collected = sum(group[0] == "h" and group[1].isdigit() for group in train.take(~made).groups)
    sites = (~made).sum() - collected
    assert 400 > collected > 380 and sites > 1000 and made.sum() > 50_000
    [told] = [line for line in said if "collected" in line]
    assert told.startswith(
        f"train: {collected} collected rows, {sites:,} sites of known_sites.txt, {made.sum():,} made-up"
    )
    none = dataclasses.replace(compact, augment={**compact.augment, "well_known": 0, "sign_in": 0})
    assert not sampling(train, none)[made].any() and sampling(train, none)[~made].all()


def test_a_source_weighs_what_the_parameters_say(tmp_path, compact):
    rows = rows_of(tmp_path, ["0\ta.org\tours", "0\tb.org\ttheirs", "1\tc.xyz\tours\t\t\tweak"])
    params = dataclasses.replace(compact, weights={**compact.weights, "sources": {"ours": 3}})
    assert weigh(rows, params)[1].tolist() == [3, 1, 3 * compact.weights["weak"]]


def test_labels_that_no_teacher_changes(tmp_path, compact):
    """Of honest sign-in pages and honest hosts in punycode; not where it stands behind the host."""
    rows = rows_of(
        tmp_path,
        ["0\ta.org\ts\t\t\tlogin", "0\thttp://WWW.XN--bcher-kva.de/x\ts", "0\tb.org/xn--bcher-kva.de\ts", "0\tc.org\ts"]
        + ["1\ta.xyz\ts\t\t\tlogin", "1\txn--bcher-kva.xyz\ts", "0\txn--e1afmkfd.xn--p1ai\ts\t\t\tweak"],
    )
    _, weights, certain = weigh(rows, compact)
    assert weights.tolist() == [compact.weights["hard_negative"], 1, 1, 1, 1, 1, compact.weights["weak"]]
    assert certain.tolist() == [True, True, False, False, False, False, False]


def test_sampling_caps_domains_and_fades_with_age(tmp_path, compact):
    params = dataclasses.replace(
        compact,
        trained_until="2025-03",
        weights={**compact.weights, "cap_phishing": 10, "cap_legitimate": 20}
        | {"half_life": 12, "oldest": 0.1, "undated": 0.3},
    )
    lines = [f"0\thttp://big.org/{i}\ts\t\tbig.org" for i in range(80)]
    lines += [f"1\thttp://bad.xyz/{i}\ts\t2025-03\tbad.xyz" for i in range(20)]
    lines += [
        "1\ta.xyz\ts\t2024-03\ta.xyz",
        "1\tb.xyz\ts\t2014\tb.xyz",
        "1\tc.xyz\ts\t\tc.xyz",
        "0\td.org\ts\t2014\td.org",
    ]
    chances = sampling(rows_of(tmp_path, lines), params)
    assert chances[:80].sum() == pytest.approx(20) and chances[80:100].sum() == pytest.approx(10)
    assert chances[100:].tolist() == pytest.approx([0.5, 0.1, 0.3, 1.0])


def test_made_sign_in_pages_keep_host_and_label(tmp_path):
    rows = rows_of(
        tmp_path, ["0\thttps://www.bank.com/", "1\tevil.xyz", "0\tshop.org/x", "1\thttp://1.2.3.4:81/", "0\tu@x.org"]
    )
    made = sign_in.made(rows, seed=1)
    assert made.labels.tolist() == [0, 1]
    assert [group_of(url) for url in made.urls] == ["bank.com", "evil.xyz"]
    assert all(phishcnn.canonicalize(url) not in (b"bank.com", b"evil.xyz") for url in made.urls)
    assert sign_in.made(rows, seed=1).urls == made.urls
    assert all(tags == {sign_in.TAG} for tags in made.tags)


def test_well_known_pages_are_on_the_domain_and_imitations_are_not(tmp_path):
    lines = [f"0\thttps://www.bank.com/{i}\tlist{i}\t\tbank.com" for i in range(3)]
    lines += ["0\thttps://shop.org/\tlist0\t\tshop.org", "0\thttps://shop.org/b\tlist0\t\tshop.org"]  # one list
    lines += [f"0\thost.com/{i}\tlist{i}\t\thost.com" for i in range(3)]
    lines += [f"1\thost.com/x{i}\tfeed\t\thost.com" for i in range(4)]  # more phishing than honest pages
    lines += ["1\tevil.xyz\tfeed\t\tevil.xyz"]
    made = sign_in.made(rows_of(tmp_path, lines), seed=1)
    known, copies = made.take(made.tagged(sign_in.WELL_KNOWN)), made.take(made.tagged(sign_in.IMITATION))
    assert len(known) == len(copies) == 6  # two for each list
    assert {group_of(url) for url in known.urls} == {"bank.com"} and set(known.labels) == {0}
    assert all(b"bank" in url and group_of(url) != "bank.com" for url in copies.urls) and set(copies.labels) == {1}


def test_a_name_that_phishing_imitates_is_a_brand(tmp_path):
    def known(imitators: int, own: int) -> set[str]:
        lines = ["0\thttps://my-pay.com/\tlist\t\tmy-pay.com", "0\thttps://other.com/\tlist\t\tother.com"]
        lines += ["0\thttps://pages.github.io/\tlist\t\tgithub.io"]  # a suffix, whatever the file says
        hosts = ("my-pay.{}.top", "x-my-pay-login.{}.top", "github.{}.top", "mother.{}.top")
        lines += [f"1\t{h.format(f'd{i}')}\tfeed\t\td{i}.top" for i in range(imitators) for h in hosts]
        lines += [f"1\tmy-pay.com/{i}\tfeed\t\tmy-pay.com" for i in range(own)]
        rows = rows_of(tmp_path, lines)
        mistaken = [url for url, bad in zip(rows.urls, sign_in.misreported(rows), strict=True) if bad]
        assert all(url.startswith(b"my-pay.com/") for url in mistaken)
        assert len(mistaken) == (own if imitators >= sign_in.IMITATED and own <= sign_in.MISREPORTED else 0)
        return set(sign_in.well_known(rows))

    assert known(sign_in.IMITATED, 0) == known(sign_in.IMITATED, sign_in.MISREPORTED) == {"my-pay.com"}
    assert known(sign_in.IMITATED - 1, 0) == known(sign_in.IMITATED, sign_in.MISREPORTED + 1) == set()


def test_known_sites_get_pages_whatever_the_collections_say(tmp_path):
    file = tmp_path / "known.txt"
    file.write_text("# Banks\nbank.com login.pay.co.jp\n\nshop.org\n")
    sites = sign_in.known_sites(file)
    assert sites.urls == [b"https://bank.com/", b"https://login.pay.co.jp/", b"https://shop.org/"]
    assert sites.groups == ["bank.com", "pay.co.jp", "shop.org"] and set(sites.labels) == {0}
    lines = [f"1\thttps://shop.org/{i}\tfeed\t\tshop.org" for i in range(9)] + ["1\tevil.xyz\tfeed\t\tevil.xyz"]
    lines += ["1\tpay.co.jp/x\tfeed\t\tpay.co.jp"]
    rows = pool([rows_of(tmp_path, lines), sites])
    made = sign_in.made(rows, seed=1)
    known = made.take(made.tagged(sign_in.WELL_KNOWN))
    assert Counter(map(group_of, known.urls)) == dict.fromkeys(("bank.com", "pay.co.jp", "shop.org"), sign_in.MOST)
    mistaken = sign_in.misreported(rows)
    assert [rows.urls[i] for i in np.flatnonzero(mistaken)] == [b"pay.co.jp/x"]  # nine of shop.org are no mistake
    file.write_text("bank.com\nbank.com\n")
    with pytest.raises(DataError, match="listed twice: bank.com"):
        sign_in.known_sites(file)


def test_well_known_domains_get_sub_domains_that_others_have(tmp_path):
    lines = [f"0\tbank.com/{i}\tlist{i}\t\tbank.com" for i in range(12)]
    lines += [f"0\tebank.{name}.org/\tlist0\t\t{name}.org" for name in "abc"]
    lines += ["0\tonce.d.org/\tlist0\t\td.org", "0\thttp://1.2.3.4/\tlist0\t\t"]
    rows = rows_of(tmp_path, lines)
    assert sign_in.sub_domains(rows) == ["ebank"]
    made = sign_in.made(rows, seed=1)
    hosts = [url for url in made.take(made.tagged(sign_in.WELL_KNOWN)).urls if b"//ebank" in url]
    assert hosts and all(group_of(url) == "bank.com" for url in hosts)


def test_a_brand_gets_the_sub_domains_and_paths_that_its_imitations_share(tmp_path):
    hosts = ["zone7.my-pay.d{}.top", "zone7.x-my-pay-y.d{}.top"]
    lines = ["0\thttps://my-pay.com/\tlist\t\tmy-pay.com", "1\tevil.top\tfeed\t\tevil.top"]
    lines += [
        f"1\thttp://{hosts[i % 2].format(i)}/web/Entry01?id={i}\tfeed\t\td{i}.top" for i in range(sign_in.IMITATED)
    ]
    lines += [f"1\thttp://kit.my-pay.d{i}.top/kit/\tfeed\t\td{i}.top" for i in range(sign_in.COPIED - 1)]
    lines += [f"1\thttp://other.d{i}.top/x\tfeed\t\td{i}.top" for i in range(sign_in.IMITATED)]
    rows = rows_of(tmp_path, lines)
    assert sign_in.well_known(rows)["my-pay.com"].copied == (["zone7"], ["web/Entry01"])
    made = sign_in.made(rows, seed=1)
    known, imitations = (made.take(made.tagged(tag)).urls for tag in (sign_in.WELL_KNOWN, sign_in.IMITATION))
    assert len(known) == sign_in.MOST and all(group_of(url) == "my-pay.com" for url in known)
    for copied in (b"//zone7.my-pay.com/", b"/web/Entry01"):
        assert 0 < sum(copied in url for url in known) < len(known)
    assert any(url.endswith(b"evil.top/web/Entry01") for url in imitations)
    assert any(url.startswith(b"http://zone7.my-pay.com.evil.top/") for url in imitations)


def test_every_listed_site_gets_pages():
    sites = sign_in.known_sites()
    assert set(sign_in.well_known(sites)) == set(sites.groups)  # a suffix, under which others register, would not


def test_a_teacher_does_not_bend_certain_labels(tmp_path):
    params = Params.load(WEIGHTS / "compact.toml")
    lines = ["0\ta.org/login\ts\t\ta.org\tlogin", "0\tb.org/x\ts\t\tb.org\t", "1\tc.xyz/y\ts\t\tc.xyz\tmade_sign_in"]
    lines += ["0\td.org/login\ts\t\td.org\tlogin,weak"]
    rows = rows_of(tmp_path, lines)
    tokens = tokens_of(rows, params)
    assert tokens.certain.tolist() == [True, False, True, False]
    before, after = tokens.labels, taught(tokens, rows.urls, params, np.zeros(4)).labels
    assert (before == after).tolist() == tokens.certain.tolist()


def test_too_few_phishing_domains_to_hold_one_out_are_an_error(tmp_path):
    rows_of(tmp_path, ["1\thttp://one.xyz/a", "1\thttp://one.xyz/b", "0\thttp://good.org/c"])
    (tmp_path / "valid").write_text("1\thttp://later.org/x\n0\thttp://other.org/y\n")
    with pytest.raises(DataError, match="some hundred domains are needed"):
        prepare([tmp_path / "rows"], [tmp_path / "valid"], tmp_path / "out", log=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_prepare_holds_domains_out_and_writes_the_same_bytes(tmp_path):
    lines = [f"{i % 2}\thttp://{'good' if i % 2 == 0 else 'bad'}{i}.org/x{i}" for i in range(600)]
    rows_of(tmp_path, lines)
    known, fixture = "https://www.google.com/", top_sites.read()[50].url
    (tmp_path / "valid").write_text(f"1\thttp://later.org/x\n0\thttp://WWW.good0.org/x0\n0\t{known}\n")
    (tmp_path / "test").write_text("1\thttp://bad1.org/x1\n")
    with open(tmp_path / "rows", "a") as file:
        file.write(f"0\t{fixture}\n")
    digests = []
    for folder in ("a", "b"):
        files = [[tmp_path / "rows"], [tmp_path / "valid"], tmp_path / folder, [tmp_path / "test"]]
        prepare(*files, log=lambda _: None)
        digests.append([(tmp_path / folder / f"{n}.tsv.gz").read_bytes() for n in ("train", "valid", "valid_domains")])
    assert digests[0] == digests[1]
    train, unseen = (read_rows(tmp_path / "a" / f"{n}.tsv.gz") for n in ("train", "valid_domains"))
    assert len(unseen) and set(unseen.labels) == {1} and held_out(unseen).all()
    assert set(train.labels[held_out(train)]) == {0}  # honest rows of such domains stay
    assert not set(train.groups) & set(unseen.groups)
    forms = canonical(train)
    assert len(set(forms)) == len(forms) > 600 and {b"good2.org/x2", b"bad3.org/x3"} < set(forms)
    judged = {phishcnn.canonicalize(url) for url in top_sites.rows().urls} | {b"good0.org/x0", b"bad1.org/x1"}
    assert phishcnn.canonicalize(known.encode()) in judged and not judged & set(forms)


def test_hosts_are_without_user_port_and_scheme():
    urls = {
        "https://U:p@Host.org:81/p?q": b"host.org",
        "ftp://ftp.bank.com/x": b"ftp.bank.com",
        "[2001:db8::1]:80/": b"[2001:db8::1]",
    }
    assert [host_of(url.encode()) for url in urls] == list(urls.values())


def test_bad_input_is_named_in_a_sentence(tmp_path, capsys):
    """Whatever is wrong, the message says which file, row or name, and no trace comes."""
    good, model = tmp_path / "good.tsv", str(WEIGHTS / "models" / "phishcnn-compact.safetensors")
    good.write_text("0\thttp://fine.org/\n")
    (tmp_path / "long.tsv").write_text("0\thttp://long.org/" + "a" * 70_000 + "\n")
    (tmp_path / "torn.tsv.gz").write_bytes(gzip.compress(b"0\thttp://a.org/\n" * 9)[:12] + b"\xff" * 40)
    (tmp_path / "baseline.json").write_text('{"model": "ngrams", "sets": {}}')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "valid.tsv.gz").write_bytes(gzip.compress(good.read_bytes()))
    for name in ("phishcnn-compact.safetensors", "phishcnn-compact.metrics.json", "f32/phishcnn-compact.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(WEIGHTS / "models" / name, tmp_path / name)
    card = f"card {tmp_path}/phishcnn-compact.safetensors"
    text = (WEIGHTS / "compact.toml").read_text()
    (tmp_path / "month.toml").write_text(text.replace('trained_until = "2025-03"', 'trained_until = "March 2025"'))
    (tmp_path / "size.toml").write_text(text.replace("c3 = [", "c4 = ["))
    nothing = Rows(np.zeros(0, np.uint8))
    for name in ("train", "valid", "valid_domains"):
        tokens_of(nothing, Params.load(WEIGHTS / "compact.toml")).save(tmp_path / "work" / f"{name}.npz")
    for words, told in {
        f"evaluate {model} --set {good}": f"--set {good}: must be NAME=FILE",
        f"evaluate {model} --set x={good}:with=typo": f"x={good}:with=typo: no row is left",
        f"evaluate {good} --set x={good}": "good.tsv: 101: not a safetensors file",
        f"quantize {good} --rows {tmp_path} -o {tmp_path}/q": "good.tsv: not a model file",
        f"split {good} --valid-from 2024-10 --test-from 2024-09 -o {tmp_path}": "the earlier month first",
        f"split {tmp_path}/long.tsv -o {tmp_path}": "train.tsv.gz: 0 phishing and 0 legitimate rows",
        f"split {tmp_path}/torn.tsv.gz -o {tmp_path}": "torn.tsv.gz: cannot read",
        f"staleness {good}": "good.tsv: no JSON: Extra data",
        f"staleness {tmp_path}/list.json": "list.json: no JSON object",
        card: "f32/phishcnn-compact.metrics.json: not there; evaluate the f32 model first",
        f"staleness {tmp_path}/baseline.json": "ngrams: its metrics tell no `trained_until`",
        f"tokenize --params {tmp_path}/month.toml": "trained_until is 'March 2025'; it must be YYYY-MM",
        f"train --params {tmp_path}/size.toml --work {tmp_path}/work": "conv c3: [sizes] has no c3",
    }.items():
        assert main(words.split(" ")) == 1, words
        assert told in capsys.readouterr().err, words
    (tmp_path / "f32" / "phishcnn-compact.metrics.json").write_text('{"sets": {"test": {}}}')
    assert main(card.split(" ")) == 1
    assert "without cross_openphish, " in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, told",
    [
        ("split rows -o data --valid-from 2024-13 --test-from 2025-01", "'2024-13' is no month; it must be YYYY-MM"),
        ("split rows -o data --valid-from 2024-09 --test-from 2024", "'2024' is no month"),
        ("check-data rows --newest 2024-9", "'2024-9' is no month"),
        ("staleness m.json --today 09/2024", "'09/2024' is no month"),
        ("opinion --params p.toml --work x", "unrecognized arguments: --work"),  # it was accepted and ignored
        ("calibrate --params p.toml --chars x", "unrecognized arguments: --chars"),
        ("cross-source --params p.toml --test t --chars x", "unrecognized arguments: --chars"),
    ],
)
def test_bad_words_on_the_command_line_are_named(words, told, capsys):
    with pytest.raises(SystemExit):
        main(words.split(" "))
    assert told in capsys.readouterr().err


def test_a_missing_library_is_named_with_what_brings_it(tmp_path, monkeypatch, capsys):
    (tmp_path / "train.tsv.gz").write_bytes(gzip.compress(b"0\thttp://a.org/\n1\thttp://b.org/\n"))
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert main(["opinion", "--params", str(WEIGHTS / "compact.toml"), "--rows", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "sklearn" in said and "is not installed" in said and "-r requirements-evaluation.txt" in said
