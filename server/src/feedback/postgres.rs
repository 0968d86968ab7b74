//! Feedback in PostgreSQL, for several replicas of the service.

use std::time::Duration;

use ::postgres::config::SslMode;
use ::postgres::fallible_iterator::FallibleIterator;
use ::postgres::{Client, Config, NoTls, Row};
use jiff::Timestamp;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{COUNT, Counts, Entry, INSERT, Kept, SELECT, Scored, Store, StoreError};
use phishcnn_cli::failure::Failure;

/// In order; the table `phishcnn_migrations` tells how many of them a database has had.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/postgres-1.sql")];

/// Any number that other users of the database are unlikely to lock.
const MIGRATION_LOCK: i64 = 0x7068_6973_6863_6e6e;

/// A database that takes longer to connect or to answer counts as down.
const PATIENCE: Duration = Duration::from_secs(4);

pub(super) struct Postgres {
    client: Client,
    salt: Vec<u8>,
}

impl From<::postgres::Error> for StoreError {
    fn from(error: ::postgres::Error) -> Self {
        // The crate's own text hides what the server said in its source.
        let why = std::error::Error::source(&error).map(|why| format!(": {why}"));
        Self(format!("PostgreSQL: {error}{}", why.unwrap_or_default()))
    }
}

impl Postgres {
    /// `sslmode=require` asks for TLS with a certificate that this system trusts; any other mode
    /// goes without.
    pub(super) fn open(config: &Config) -> Result<Self, StoreError> {
        let mut config = config.clone();
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(PATIENCE);
        }
        config.tcp_user_timeout(PATIENCE);
        config.application_name("phishcnn");
        let mut client = if config.get_ssl_mode() == SslMode::Require {
            config.connect(tls()?)?
        } else {
            config.connect(NoTls)?
        };
        client.batch_execute(&format!("SET statement_timeout = {}", PATIENCE.as_millis()))?;
        migrate(&mut client)?;
        let salt = client.query_one("SELECT value FROM salt", &[])?.try_get(0)?;
        Ok(Self { client, salt })
    }
}

fn tls() -> Result<MakeRustlsConnect, StoreError> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = rustls::crypto::ring::default_provider().into();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError(format!("TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn migrate(client: &mut Client) -> Result<(), StoreError> {
    let mut change = client.transaction()?;
    // Of several replicas that start together, one makes the tables.
    change.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])?;
    change
        .batch_execute("CREATE TABLE IF NOT EXISTS phishcnn_migrations (version INT NOT NULL)")?;
    let found = change.query_one("SELECT count(*) FROM phishcnn_migrations", &[])?;
    let version = usize::try_from(found.try_get::<_, i64>(0)?).unwrap_or_default();
    if version > MIGRATIONS.len() {
        return Err(StoreError(format!("PostgreSQL: tables of a newer version ({version})")));
    }
    for (number, migration) in (1_i32..).zip(MIGRATIONS).skip(version) {
        change.batch_execute(migration)?;
        change.execute("INSERT INTO phishcnn_migrations VALUES ($1)", &[&number])?;
    }
    Ok(change.commit()?)
}

impl Store for Postgres {
    fn write(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let mut change = self.client.transaction()?;
        let insert = change.prepare(INSERT)?;
        for Kept { key, client, entry } in Kept::all(entries, &self.salt) {
            let scored = entry.scored.as_ref();
            // PostgreSQL's text has no NUL.
            let note = entry.note.as_ref().map(|note| note.replace('\0', "\u{fffd}"));
            change.execute(
                &insert,
                &[
                    &key.as_slice(),
                    &entry.url,
                    &entry.label,
                    &entry.right,
                    &client,
                    &entry.time.as_second(),
                    &entry.origin,
                    &scored.map(|s| &s.model),
                    &scored.map(|s| s.logit),
                    &scored.map(|s| s.probability),
                    &scored.map(|s| &s.verdict),
                    &note,
                ],
            )?;
        }
        Ok(change.commit()?)
    }

    fn counts(&mut self) -> Result<Counts, StoreError> {
        let mut counts = Counts::default();
        for row in self.client.query(COUNT, &[])? {
            let count = u64::try_from(row.try_get::<_, i64>(2)?).unwrap_or_default();
            counts.add(row.try_get(0)?, row.try_get(1)?, count);
        }
        Ok(counts)
    }

    fn read(
        &mut self,
        since: Timestamp,
        sink: &mut dyn FnMut(Entry) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let failed = |error: ::postgres::Error| StoreError::from(error).failure();
        // An export may take longer than an answer to a client.
        self.client.batch_execute("SET statement_timeout = 0").map_err(failed)?;
        let mut rows = self.client.query_raw(SELECT, [since.as_second()]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            sink(entry(&row).map_err(failed)?)?;
        }
        Ok(())
    }
}

fn entry(row: &Row) -> Result<Entry, ::postgres::Error> {
    let model: Option<String> = row.try_get(7)?;
    let scored = match model {
        None => None,
        Some(model) => Some(Scored {
            model,
            logit: row.try_get(8)?,
            probability: row.try_get(9)?,
            verdict: row.try_get(10)?,
        }),
    };
    Ok(Entry {
        url: row.try_get(0)?,
        label: row.try_get(1)?,
        right: row.try_get(2)?,
        client: row.try_get(3)?,
        time: Timestamp::from_second(row.try_get(4)?).unwrap_or(Timestamp::UNIX_EPOCH),
        origin: row.try_get(5)?,
        note: row.try_get(6)?,
        scored,
    })
}
