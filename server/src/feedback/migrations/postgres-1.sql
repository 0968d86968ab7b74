-- What people said about verdicts. One row for each URL, client and day; the last word counts.
CREATE TABLE feedback (
    key         BYTEA PRIMARY KEY,  -- SHA-256 of url, client and day
    url         BYTEA NOT NULL,     -- any bytes
    label       BOOLEAN NOT NULL,   -- what was predicted: phishing or not
    feedback    BOOLEAN NOT NULL,   -- whether the prediction was right
    client      TEXT NOT NULL,      -- digest of the client's id with the salt
    time        BIGINT NOT NULL,    -- seconds since 1970, UTC
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
CREATE TABLE salt (value BYTEA NOT NULL);
INSERT INTO salt VALUES (decode(replace(gen_random_uuid()::text, '-', ''), 'hex'));
