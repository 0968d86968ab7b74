"""Made-up sign-in pages: a host decides, not the word `login` behind it.

Collections of legitimate URLs have few sign-in pages, phishing imitates them, and a network that saw only
such rows flags every bank. So bare hosts of both classes are seen again with a sign-in path or sub-domain.
"""

from __future__ import annotations

import numpy as np
import phishcnn

from .data import Rows

TAG = "made_sign_in"
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


def made(rows: Rows, seed: int) -> Rows:
    """One made-up sign-in page for each bare host of `rows`, same label, with the tag `made_sign_in`."""
    rng = np.random.default_rng([seed, 3])
    picked, urls = [], []
    for i, url in enumerate(rows.urls):
        host = phishcnn.canonicalize(url)
        if not host or any(c in host for c in b"/?#@:[%\\"):
            continue
        path, sub, kind = rng.choice(PATHS), rng.choice(HOSTS), rng.random()
        picked.append(i)
        if kind < 0.6 or host.count(b".") != 1:
            urls.append(b"http://" + host + path.encode())
        else:
            urls.append(f"http://{sub}.".encode() + host + (path.encode() if kind < 0.8 else b""))
    made = rows.take(np.array(picked, np.int64))
    made.urls, made.tags = urls, [frozenset({TAG})] * len(urls)
    return made
