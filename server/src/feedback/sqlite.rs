//! Feedback in one SQLite file.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{COUNT, Counts, Entry, INSERT, Kept, SELECT, Scored, Store, StoreError};
use phishcnn_cli::failure::Failure;

/// In order; how many of them a file has had is its `user_version`.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/sqlite-1.sql")];

/// How long to wait for another process, such as an export, to let go of the file.
const BUSY: Duration = Duration::from_secs(5);

pub(super) struct Sqlite {
    connection: Connection,
    salt: Vec<u8>,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self(format!("SQLite: {error}"))
    }
}

impl Sqlite {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path)
            .map_err(|error| StoreError(format!("SQLite: {}: {error}", path.display())))?;
        connection.busy_timeout(BUSY)?;
        // WAL lets an export read while the service writes; FULL syncs every commit to the disk,
        // so that not even a power failure takes what was acknowledged.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        migrate(&mut connection)?;
        let salt = connection.query_row("SELECT value FROM salt", [], |row| row.get(0))?;
        Ok(Self { connection, salt })
    }
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    // IMMEDIATE: of two processes that open a new file, one waits and finds the work done.
    let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = change.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let version = usize::try_from(version).unwrap_or_default();
    if version > MIGRATIONS.len() {
        return Err(StoreError(format!("SQLite: tables of a newer version ({version})")));
    }
    for migration in MIGRATIONS.iter().skip(version) {
        change.execute_batch(migration)?;
    }
    change.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    Ok(change.commit()?)
}

impl Store for Sqlite {
    fn write(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let change = self.connection.transaction()?;
        {
            let mut insert = change.prepare_cached(INSERT)?;
            for Kept { key, client, entry } in Kept::all(entries, &self.salt) {
                let scored = entry.scored.as_ref();
                insert.execute(params![
                    key,
                    entry.url,
                    entry.label,
                    entry.right,
                    client,
                    entry.time.as_second(),
                    entry.origin,
                    scored.map(|s| &s.model),
                    scored.map(|s| s.logit),
                    scored.map(|s| s.probability),
                    scored.map(|s| &s.verdict),
                    entry.note,
                ])?;
            }
        }
        Ok(change.commit()?)
    }

    fn counts(&mut self) -> Result<Counts, StoreError> {
        let mut counts = Counts::default();
        let mut query = self.connection.prepare_cached(COUNT)?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        for row in rows {
            let (label, right, count): (bool, bool, i64) = row?;
            counts.add(label, right, count.unsigned_abs());
        }
        Ok(counts)
    }

    fn read(
        &mut self,
        since: Timestamp,
        sink: &mut dyn FnMut(Entry) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let failed = |error: rusqlite::Error| StoreError::from(error).failure();
        let mut query = self.connection.prepare(SELECT).map_err(failed)?;
        let rows = query.query_map([since.as_second()], entry).map_err(failed)?;
        for row in rows {
            sink(row.map_err(failed)?)?;
        }
        Ok(())
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let model: Option<String> = row.get(7)?;
    let scored = match model {
        None => None,
        Some(model) => Some(Scored {
            model,
            logit: row.get(8)?,
            probability: row.get(9)?,
            verdict: row.get(10)?,
        }),
    };
    Ok(Entry {
        url: row.get(0)?,
        label: row.get(1)?,
        right: row.get(2)?,
        client: row.get(3)?,
        time: Timestamp::from_second(row.get(4)?).unwrap_or(Timestamp::UNIX_EPOCH),
        origin: row.get(5)?,
        note: row.get(6)?,
        scored,
    })
}
