-- What people said about verdicts. One row for each URL, client and day; the last word counts.
CREATE TABLE feedback (
    key         BLOB PRIMARY KEY,   -- SHA-256 of url, client and day
    url         BLOB NOT NULL,      -- any bytes
    label       INTEGER NOT NULL,   -- what was predicted: 1 phishing, 0 not
    feedback    INTEGER NOT NULL,   -- 1: the prediction was right, 0: it was wrong
    client      TEXT NOT NULL,      -- digest of the client's id with the salt
    time        INTEGER NOT NULL,   -- seconds since 1970, UTC
    origin      TEXT NOT NULL,      -- the route or command that brought it
    model       TEXT,               -- SHA-256 of the model that scored it
    logit       REAL,
    probability REAL,
    verdict     TEXT,
    note        TEXT                -- what the client sent in a field that says neither 0 nor 1
);
CREATE INDEX feedback_counts ON feedback (label, feedback);
CREATE INDEX feedback_time ON feedback (time);
-- Makes client ids useless elsewhere.
CREATE TABLE salt (value BLOB NOT NULL);
INSERT INTO salt VALUES (randomblob(16));
