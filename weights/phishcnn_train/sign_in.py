"""Made-up pages: a host decides, not the word `login` behind it.

Collections of legitimate URLs have few sign-in pages, phishing imitates them, and a network that saw only
such rows flags every bank. Two kinds of rows are made from the training rows alone:

- bare hosts of both classes are seen again with a sign-in path or sub-domain (`made_sign_in`);
- domains that several legitimate collections list independently, those whose name many phishing hosts carry, and
  those of known_sites.txt get pages that people sign in at (`well_known`), some with sub-domains and paths that several
  imitations of the brand have in common, and each of these pages is imitated under a phishing host (`imitation`), so
  that a brand's name counts where it is the registered domain and nowhere else.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import phishcnn

from .data import DataError, Rows, pool
from .groups import group_of, host_of
from .typed import Array

TAG = "made_sign_in"
WELL_KNOWN, IMITATION = "well_known", "imitation"
TAGS = frozenset((TAG, WELL_KNOWN, IMITATION))
PATHS = (
    "/login /signin /sign-in /sign_in /log-in /logon /auth /auth/login /account /account/login /accounts/login"
    " /users/sign_in /user/login /login.php /login.aspx /login.html /signin.html /index.php/login /member/login"
    " /members /myaccount /my-account /profile /session/new /sso /oauth2/authorize?client_id=web /login?next=%2F"
    " /login?redirect=/home /signin?continue=/ /signup /register /password/reset /forgot-password /verify /security"
    " /secure/login /customer/account/login /webmail /portal /dashboard /admin /wp-login.php /billing /payment"
    " /checkout /support /help /contact /en/login /de/login /fr/connexion"
).split()
HOSTS = (
    "login signin accounts account auth id sso secure my portal online mail webmail support help app m mobile"
    " members banking ebanking onlinebanking identity"
).split()

# Pages of well-known domains are put together from these: [/locale][/section…]/page[?parameter…]. Sections and pages
# are one of the list, several `WORDS` in one, or what programs are called.
LOCALES = "en de fr es it jp us uk en-us en-gb de-de fr-fr pt-br ja zh-cn nl pl".split()
SECTIONS = (
    "auth account accounts user users member members customer personal private retail business web portal secure"
    " security identity sso session oauth2 v1 v2 v3 app apps bank banking online ebanking netbank wallet my home"
    " public shop common content central global profile settings help support cgi-bin"
).split()
PAGES = (
    "login signin sign-in sign_in logon log-in Login LOGIN SignIn Logon login.do login.jsp login.aspx login.html"
    " login.htm login.php index.jsp index.html index.php signin.html authenticate authentication authorize identifier"
    " password connexion anmelden acceder entrar account my-account myaccount summary overview dashboard profile"
    " settings security verify checkout payment billing transfer invoices orders register signup help contact"
).split()
PARAMETERS = (
    "continue={site} next=/ redirect={site} returnUrl={site} return_to={site} service=mail service=account hl=en"
    " lang=en locale=de_DE cmd=_login client_id=web response_type=code flow=signin source=home ref=nav from=header"
    " goto=/home step=1 tab=0 id=1"
).split()
WORDS = (
    "login logon sign on in auth app client user account customer member card bank home page start web secure service"
    " id portal menu entry view form access main session pay transfer center my net online mobile personal private info"
    " step confirm inbox mail help"
).split()
CODES = (
    "ib ob nb rb pb cb mb eb ssl cas sap crm b2c b2b svc srv pub ext std ui spa iam idp pki otp tan APP WEB CORE 1.0 2.0"
).split()
ENDINGS = ".do .go .jsp .jsf .aspx .action .html .htm .php .page .xhtml".split()
SEEN = 3  # registered domains whose hosts have a sub-domain before others get it, too
MOST = 24  # pages of a domain that is no brand, at most: two for each collection that lists it
MOST_IMITATED = 120  # pages of a brand: one for every two domains that imitate it, between `MOST` and this
LISTS = 3  # collections that make a domain well known
IMITATED = 20  # registered domains of phishing whose hosts carry a name: its owner is a brand
COPIED = 3  # registered domains of imitations that share a sub-domain or path before it counts as the brand's own
COPIES = 0.3  # of a brand's pages have such a sub-domain, where it has any, and as many such a path
MISREPORTED = 3  # phishing rows on a brand's own domain that are taken for mistaken reports
KNOWN_SITES = Path(__file__).resolve().parents[1] / "known_sites.txt"
SOURCE = "known_sites"  # of the rows that the list gives


def known_sites(path: Path = KNOWN_SITES) -> Rows:
    """The listed domains as bare hosts, legitimate; one row each. Words of lines that begin with # are remarks."""
    lines = path.read_text(encoding="utf-8").splitlines()
    sites = [word for line in lines if not line.startswith("#") for word in line.split()]
    if twice := [site for site, count in Counter(sites).items() if count > 1]:
        raise DataError(f"{path}: listed twice: {', '.join(twice)}")
    n = len(sites)
    urls = [f"https://{site}/".encode() for site in sites]
    groups = [group_of(url) for url in urls]
    return Rows(np.zeros(n, np.uint8), urls, [SOURCE] * n, [""] * n, groups, [frozenset()] * n)


def made_up(rows: Rows) -> Array:
    """bool [n]: which rows were made here."""
    return np.fromiter((not TAGS.isdisjoint(t) for t in rows.tags), bool, len(rows))


def compound(rng: Random) -> str:
    """Two or three words in one: `authlogin`, `home-page`, `userAccount`, `ServiceLogin`, `id_auth`."""
    words = rng.sample(WORDS, rng.choice((2, 2, 3)))
    kind = rng.randrange(5)
    if kind < 2:
        words = [word.capitalize() if i or kind else word for i, word in enumerate(words)]
    return ("", "", "", "-", "_")[kind].join(words)


def page(rng: Random, site: str) -> str:
    """A path as the sign-in and account pages of large sites have it; now and then none (the home page)."""
    if rng.random() < 0.12:
        return ""
    steps = [rng.choice(LOCALES)] if rng.random() < 0.2 else []
    if rng.random() < 0.5:
        steps += rng.choices(SECTIONS, k=rng.choices((0, 1, 2, 3), (40, 35, 17, 8))[0])
        steps += [rng.choice(PAGES)]
    else:
        steps += [rng.choice((rng.choice(CODES), rng.choice(SECTIONS), compound(rng))) for _ in range(rng.randrange(4))]
        steps += [rng.choice((rng.choice(CODES), rng.choice(PAGES), compound(rng), compound(rng)))]
        if "." not in steps[-1] and rng.random() < 0.3:
            steps[-1] += rng.choice(ENDINGS)
    query = rng.choices(PARAMETERS, k=rng.choices((0, 1, 2), (65, 22, 13))[0])
    path = "/" + "/".join(steps) + ("/" if rng.random() < 0.15 else "")
    return path + ("?" + "&".join(query).format(site=f"https://{site}/") if query else "")


def bare_host(url: bytes) -> bytes | None:
    """The canonical host where the URL is nothing but a host name."""
    host = phishcnn.canonicalize(url)
    return host if host and not any(c in host for c in b"/?#@:[%\\") else None


def copies(rows: Rows, picked: list[int], urls: list[bytes], tag: str) -> Rows:
    """The picked rows with other URLs and this tag alone."""
    made = rows.take(np.array(picked, np.int64))
    made.urls, made.tags = urls, [frozenset({tag})] * len(urls)
    return made


def sign_in_pages(rows: Rows, rng: Random) -> Rows:
    """One sign-in page for each bare host of `rows`, same label, with the tag `made_sign_in`."""
    picked, urls = [], []
    for i, url in enumerate(rows.urls):
        host = bare_host(url)
        if host is None:
            continue
        path, sub, kind = rng.choice(PATHS), rng.choice(HOSTS), rng.random()
        picked.append(i)
        if kind < 0.6 or host.count(b".") != 1:
            urls.append(b"http://" + host + path.encode())
        else:
            urls.append(f"http://{sub}.".encode() + host + (path.encode() if kind < 0.8 else b""))
    return copies(rows, picked, urls, TAG)


def words_of(label: str) -> set[str]:
    """The words that hyphens part a host's label into, alone and in pairs."""
    parts = label.split("-")
    return {*parts, *(f"{a}-{b}" for a, b in zip(parts, parts[1:], strict=False))}


def imitations(rows: Rows, names: set[str]) -> dict[str, list[int]]:
    """Name → phishing rows that have it in the host, as a label or as a word or two of one."""
    found: dict[str, list[int]] = defaultdict(list)
    for i in np.flatnonzero(rows.labels == 1).tolist():
        labels = host_of(rows.urls[i]).decode("latin-1").split(".")
        for name in names & set().union(*map(words_of, labels)):
            found[name].append(i)
    return found


class Copied(NamedTuple):
    """What imitations of one brand under at least `COPIED` registered domains have in common: most often what the pages
    have that they copy."""

    sub_domains: list[str]  # in front of its name
    paths: list[str]


def copied(rows: Rows, name: str, found: list[int]) -> Copied:
    """Of the phishing rows `found` with the name in the host."""
    before: dict[str, set[str]] = defaultdict(set)
    behind: dict[str, set[str]] = defaultdict(set)
    for i in found:
        labels = host_of(rows.urls[i]).decode("latin-1").split(".")
        at = next(k for k, label in enumerate(labels) if name in words_of(label))
        path = re.split(rb"[?#]", phishcnn.canonicalize(rows.urls[i]).partition(b"/")[2])[0].decode("latin-1")
        before[".".join(labels[:at])].add(rows.groups[i])
        behind[path].add(rows.groups[i])
    sub_domains, paths = (
        sorted(text for text, groups in by.items() if text and text.isascii() and len(groups) >= COPIED)
        for by in (before, behind)
    )
    return Copied(sub_domains, paths)


class Known(NamedTuple):
    pages: int  # to make
    rows: list[int]  # its honest ones
    brand: bool  # imitated
    copied: Copied  # of its imitations


def well_known(rows: Rows) -> dict[str, Known]:
    """By registered domain, the legitimate domains that at least `LISTS` collections list, and brands: those of
    known_sites.txt and those that phishing on `IMITATED` other domains imitates. Domains that host more phishing
    than honest rows are none of them unless the file lists them, nor are suffixes under which others register."""
    members: dict[str, list[int]] = defaultdict(list)
    phishing: dict[str, int] = defaultdict(int)
    for i, (label, group) in enumerate(zip(rows.labels.tolist(), rows.groups, strict=True)):
        if label:
            phishing[group] += 1
        elif group:
            members[group].append(i)
    names = {g: g.partition(".")[0] for g in members if len(g.partition(".")[0]) > 3}
    imitated = imitations(rows, set(names.values()))
    chosen = {}
    for group, found in sorted(members.items()):
        sources = {rows.sources[i] for i in found} - {""}
        copies_of_it = imitated.get(names.get(group, ""), [])
        imitators = len({rows.groups[i] for i in copies_of_it})
        listed = SOURCE in sources
        brand = listed or imitators >= IMITATED
        if not brand and len(sources) < LISTS:
            continue
        if not listed and phishing[group] > max(len(found), MISREPORTED if brand else 0):
            continue
        if group_of(f"http://login.{group}/".encode()) == group:
            pages = min(MOST_IMITATED, max(MOST, imitators // 2)) if brand else min(MOST, 2 * len(sources))
            shared = copied(rows, names.get(group, ""), copies_of_it) if brand else Copied([], [])
            chosen[group] = Known(pages, found, brand, shared)
    return chosen


def misreported(rows: Rows) -> Array:
    """bool [n]: phishing rows on the own domains of brands, `MISREPORTED` at most: reports of what was imitated."""
    phishing = Counter(g for g, label in zip(rows.groups, rows.labels.tolist(), strict=True) if label)
    brands = {g for g, known in well_known(rows).items() if known.brand and phishing[g] <= MISREPORTED}
    return np.fromiter(
        (label == 1 and g in brands for g, label in zip(rows.groups, rows.labels.tolist(), strict=True)),
        bool,
        len(rows),
    )


def sub_domains(rows: Rows) -> list[str]:
    """What honest hosts have before the registered domain, where at least `SEEN` of those have it."""
    found: dict[bytes, set[str]] = defaultdict(set)
    for i in np.flatnonzero(rows.labels == 0).tolist():
        host = host_of(rows.urls[i])
        before = host.removesuffix(b"." + rows.groups[i].encode())
        if before != host and before.isascii():
            found[before].add(rows.groups[i])
    return sorted(before.decode() for before, domains in found.items() if len(domains) >= SEEN)


def sub_domain(rng: Random, seen: list[str]) -> str:
    """Labels before a registered domain, as large sites have them: `id`, `jp`, `login.jp`, `www3`, `secure2.my`,
    or one or two of those that other sites have (`seen`), with or without a number: `connect.secure`, `app11.eu`."""
    if seen and rng.random() < 0.5:
        labels = rng.choices(seen, k=rng.choice((1, 1, 2)))
        if rng.random() < 0.15:
            labels[0] += str(rng.randrange(1, 30))
        return ".".join(labels)
    labels = [rng.choice(HOSTS if rng.random() < 0.7 else LOCALES)]
    if rng.random() < 0.3:
        labels.append(rng.choice(LOCALES if rng.random() < 0.4 else HOSTS))
    if rng.random() < 0.12:
        labels[0] = f"{rng.choice((labels[0], 'www'))}{rng.randrange(1, 20)}"
    return ".".join(labels)


def well_known_pages(rows: Rows, rng: Random) -> Rows:
    """Pages of each well-known domain, and one imitation of each under a phishing host."""
    bare = [
        (i, found) for i in np.flatnonzero(rows.labels == 1).tolist() if (found := bare_host(rows.urls[i])) is not None
    ]
    seen = sub_domains(rows)
    picked, urls, hosts, copied = [], [], [], []
    for group, (pages, members, _, shared) in well_known(rows).items():
        for _ in range(pages):
            i = rng.choice(members)
            own = host_of(rows.urls[i])
            if shared.sub_domains and rng.random() < COPIES:
                host = f"{rng.choice(shared.sub_domains)}.{group}"
            else:
                host = own.decode() if own.isascii() and rng.random() < 0.5 else f"{sub_domain(rng, seen)}.{group}"
            path = f"/{rng.choice(shared.paths)}" if shared.paths and rng.random() < COPIES else page(rng, group)
            picked.append(i)
            urls.append(f"https://{host}{path}".encode())
            if bare:
                k, evil = rng.choice(bare)
                name = group.partition(".")[0]
                forms = (f"{host}.%s{path}", f"{name}.%s{path}", f"{name}-%s{path}", f"%s/{group}{path}")
                hosts.append(k)
                copied.append(b"http://" + rng.choice(forms).encode().replace(b"%s", evil, 1))
    return pool([copies(rows, picked, urls, WELL_KNOWN), copies(rows, hosts, copied, IMITATION)])


def made(rows: Rows, seed: int) -> Rows:
    """All made-up rows; a function of the rows and the seed."""
    return pool([sign_in_pages(rows, Random(seed)), well_known_pages(rows, Random(seed + 1))])
