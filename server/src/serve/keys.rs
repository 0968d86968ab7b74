//! API keys for the routes that store something.

use std::path::Path;

use axum::http::{HeaderMap, header};
use phishcnn_core::Error;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::problem::Problem;
use phishcnn_cli::failure::Failure;

/// Digests of the keys that are accepted; without any, everybody may store.
pub(crate) struct Keys(Option<Vec<[u8; 32]>>);

impl Keys {
    /// One key a line; blank lines and lines that begin with `#` are passed over.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self(None)) };
        let bad = |why: String| {
            let name = path.display();
            Failure::setting(Error::BadValue, format!("--api-keys-file: {name}: {why}"))
        };
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        let keys = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
        let keys: Vec<_> = keys.map(|key| Sha256::digest(key).into()).collect();
        // An empty file would lock everybody out, or be meant to let everybody in.
        if keys.is_empty() { Err(bad("holds no key".to_owned())) } else { Ok(Self(Some(keys))) }
    }

    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(keys) = &self.0 else { return Ok(()) };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let given: [u8; 32] = Sha256::digest(given.map_or("", |(_, key)| key.trim())).into();
        // Digests are compared, all of them and to their ends: the time tells nothing.
        let known = keys.iter().fold(Choice::from(0), |known, key| known | key.ct_eq(&given));
        if known.into() { Ok(()) } else { Err(Error::Unauthorised.into()) }
    }
}
