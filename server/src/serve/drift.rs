//! Whether today's URLs are like those that the model's thresholds come from: the population
//! stability index (PSI) of live traffic against the reference that a model file may carry.
//!
//! The optional metadata key `phishcnn.reference` is described in `docs/model-file.md`; a file
//! without it has no gauge.

use std::sync::{Mutex, PoisonError};

use phishcnn_core::url::Url;
use phishcnn_core::{Model, Part, Score};

const KEY: &str = "phishcnn.reference";

/// URLs after which older ones begin to fade: at twice this count all counts are halved.
const MEMORY: f64 = 10_000.0;

/// Fewer URLs say nothing: no value is given.
const LEAST: f64 = 500.0;

/// A share that a bin has at least, so that an empty one does not make the index infinite.
const FLOOR: f64 = 1e-4;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Feature {
    Length,
    Host,
    Path,
    Query,
    Logit,
}

impl Feature {
    const ALL: [(&'static str, Self); 5] = [
        ("length", Self::Length),
        ("host", Self::Host),
        ("path", Self::Path),
        ("query", Self::Query),
        ("logit", Self::Logit),
    ];

    fn named(name: &str) -> Option<(&'static str, Self)> {
        Self::ALL.into_iter().find(|(known, _)| *known == name)
    }

    fn value(self, url: &Url<'_>, score: &Score) -> f64 {
        let bytes = |wanted: &[Part]| -> usize {
            url.spans().filter(|(part, _)| wanted.contains(part)).map(|(_, r)| r.len()).sum()
        };
        match self {
            Self::Length => url.len() as f64,
            Self::Host => bytes(&[Part::Subdomain, Part::Registrable, Part::Suffix]) as f64,
            Self::Path => bytes(&[Part::Path]) as f64,
            Self::Query => bytes(&[Part::Query]) as f64,
            Self::Logit => score.logit.into(),
        }
    }
}

#[derive(Debug, PartialEq)]
struct Reference {
    name: &'static str,
    feature: Feature,
    /// Upper bounds, ascending; the last bin has none.
    bounds: Vec<f64>,
    /// One more than bounds.
    shares: Vec<f64>,
}

impl Reference {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (name, feature) = Feature::named(words.next()?)?;
        let (mut bounds, mut shares) = (Vec::new(), Vec::new());
        let mut open = true;
        for word in words {
            let (bound, share) = word.split_once(':')?;
            if !open {
                return None;
            }
            match bound {
                "+" => open = false,
                bound => bounds.push(bound.parse().ok().filter(|b: &f64| b.is_finite())?),
            }
            shares.push(share.parse().ok().filter(|s| (0.0..=1.0).contains(s))?);
        }
        let ascending = bounds.is_sorted_by(|a, b| a < b);
        let whole = (shares.iter().sum::<f64>() - 1.0).abs() < 0.01;
        (ascending && whole && !open).then_some(Self { name, feature, bounds, shares })
    }

    fn bin(&self, value: f64) -> usize {
        self.bounds.partition_point(|&bound| bound < value)
    }

    fn psi(&self, counts: &[f64]) -> Option<f64> {
        let all: f64 = counts.iter().sum();
        let term = |(&count, &share): (&f64, &f64)| {
            let (live, reference) = ((count / all).max(FLOOR), share.max(FLOOR));
            (live - reference) * (live / reference).ln()
        };
        (all >= LEAST).then(|| counts.iter().zip(&self.shares).map(term).sum())
    }
}

pub(crate) struct Drift {
    features: Vec<Reference>,
    /// For each feature the counts of its bins.
    counts: Mutex<Vec<Vec<f64>>>,
}

impl Drift {
    /// `None` for a model without a reference.
    pub(crate) fn of(model: &Model<'_>) -> Result<Option<Self>, String> {
        let Some(line) = model.metadata().get(KEY) else { return Ok(None) };
        let features: Option<Vec<_>> = line.split("; ").map(Reference::parse).collect();
        let features = features.ok_or_else(|| format!("{KEY}: cannot be read"))?;
        let counts = features.iter().map(|f| vec![0.0; f.shares.len()]).collect();
        Ok(Some(Self { features, counts: Mutex::new(counts) }))
    }

    pub(crate) fn add(&self, url: &[u8], score: &Score) {
        // Statistics: a sample that would have to wait is left out.
        let (Ok(url), Ok(mut counts)) = (Url::parse(url), self.counts.try_lock()) else { return };
        for (feature, counts) in self.features.iter().zip(counts.iter_mut()) {
            let bin = feature.bin(feature.feature.value(&url, score));
            if let Some(count) = counts.get_mut(bin) {
                *count += 1.0;
            }
            if counts.iter().sum::<f64>() > 2.0 * MEMORY {
                counts.iter_mut().for_each(|count| *count /= 2.0);
            }
        }
    }

    /// Name and PSI of the features that have seen enough URLs.
    pub(crate) fn psi(&self) -> Vec<(&'static str, f64)> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let both = self.features.iter().zip(counts.iter());
        both.filter_map(|(f, counts)| Some((f.name, f.psi(counts)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let reference = Reference::parse("length 16:0.25 32:0.5 +:0.25").unwrap();
        assert_eq!((reference.bin(16.0), reference.bin(17.0), reference.bin(99.0)), (0, 1, 2));
        for wrong in [
            "",
            "length",
            "size 1:0.5 +:0.5",
            "length 1:0.5",
            "length 1:0.5 +:0.2",
            "length 2:0.5 1:0.2 +:0.3",
            "length +:0.5 1:0.5",
            "length x:0.5 +:0.5",
            "length 1 +:1",
        ] {
            assert_eq!(Reference::parse(wrong), None, "{wrong}");
        }
    }

    /// By hand: (0.5 − 0.25) ln 2 + (0.5 − 0.75) ln(2/3) = 0.2747.
    #[test]
    fn the_index() {
        let reference = Reference::parse("length 16:0.25 +:0.75").unwrap();
        assert!((reference.psi(&[500.0, 500.0]).unwrap() - 0.274_653).abs() < 1e-5);
        assert!(reference.psi(&[250.0, 750.0]).unwrap().abs() < 1e-12);
        assert_eq!(reference.psi(&[100.0, 100.0]), None);
        assert!(reference.psi(&[1000.0, 0.0]).unwrap().is_finite());
    }
}
