use crate::scratch;
use crate::support::model_file::{Architecture, Input, Layer, conv, dense};
use crate::support::network::Network;
use crate::urls;
use phishcnn_core::{Error, Model, Segment, as_bytes_mut};
use proptest::prelude::*;

fn file(input: Input) -> Vec<u8> {
    let mut layers = vec![conv(3, 6, "relu"), Layer::Pool("max+avg"), dense(1, "")];
    if matches!(input, Input::Bytes { .. }) {
        layers.push(Layer::Ngrams { first: 1, last: 4 });
    }
    Architecture { input, width: 4, layers, output: "logit" }.build(3).bytes()
}

fn check(file: &[u8], url: &[u8]) -> Result<(), TestCaseError> {
    let model = Model::load(file).unwrap();
    let mut scratch = scratch(&model);
    let mut out = vec![Segment::default(); model.max_segments()];
    let want = match Network::read(file).explain(url) {
        Ok(want) => want,
        Err(code) => {
            let got = model.explain(url, as_bytes_mut(&mut scratch), &mut out);
            prop_assert_eq!(got.err().map(Error::code), Some(code));
            return Ok(());
        }
    };
    let (score, count) = model.explain(url, as_bytes_mut(&mut scratch), &mut out).unwrap();
    prop_assert_eq!(score, model.score(url, as_bytes_mut(&mut scratch)).unwrap());
    let got = &out[..count];
    prop_assert_eq!(
        got.iter().map(|s| (s.start, s.end, s.part as u8)).collect::<Vec<_>>(),
        want.iter().map(|w| (w.0, w.1, w.2)).collect::<Vec<_>>()
    );
    for (got, want) in got.iter().zip(&want) {
        prop_assert!((f64::from(got.contribution) - want.3).abs() < 2e-4, "{got:?} {want:?}");
    }
    let again = model.explain(url, as_bytes_mut(&mut scratch), &mut out[..count]);
    prop_assert_eq!(again, Ok((score, count)));
    if let Some(short) = count.checked_sub(1) {
        let again = model.explain(url, as_bytes_mut(&mut scratch), &mut out[..short]);
        prop_assert_eq!(again, Err(Error::OutputTooSmall));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn contributions_by_definition(url in urls::any_url(), n in 1_usize..60) {
        check(&file(Input::Bytes { max: n, tables: "bytes+parts" }), &url)?;
        check(&file(Input::Chars { length: n, canonical: false }), &url)?;
        check(&file(Input::Chars { length: n, canonical: true }), &url)?;
    }
}

#[test]
fn segments_of_long_urls() {
    let long = format!("http://a.b.c.example.co.uk/{}", "x/".repeat(200));
    check(&file(Input::Bytes { max: 64, tables: "bytes+parts" }), long.as_bytes()).unwrap();
    let user = format!("http://{}é@h.com", "ü:".repeat(30));
    for input in [
        Input::Bytes { max: 64, tables: "bytes+parts" },
        Input::Chars { length: 64, canonical: false },
        Input::Chars { length: 64, canonical: true },
    ] {
        check(&file(input), user.as_bytes()).unwrap();
    }
}

/// Costs a scoring for each segment that the model reads, not for each of the URL's: otherwise
/// this would take minutes.
#[test]
fn unread_segments_cost_nothing() {
    let slashes = vec![b'/'; 65_536];
    for input in [
        Input::Bytes { max: 20, tables: "bytes+parts" },
        Input::Chars { length: 20, canonical: false },
    ] {
        check(&file(input), &slashes).unwrap();
    }
}
