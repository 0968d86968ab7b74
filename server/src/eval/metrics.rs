//! The measures, each by its usual definition. The score of a row is its logit.

use serde::Serialize;

/// One scored row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scored {
    pub(crate) phishing: bool,
    pub(crate) logit: f32,
    /// Calibrated at base rate 0.5.
    pub(crate) probability: f32,
}

/// What a rule that flags `logit >= threshold` gets right and wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Confusion {
    pub(crate) tp: u64,
    pub(crate) fp: u64,
    #[serde(rename = "fn")]
    pub(crate) fn_: u64,
    pub(crate) tn: u64,
}

impl Confusion {
    pub(crate) fn at<'a>(threshold: f32, rows: impl Iterator<Item = &'a Scored>) -> Self {
        let mut counts = Self::default();
        for row in rows {
            match (row.phishing, row.logit >= threshold) {
                (true, true) => counts.tp += 1,
                (true, false) => counts.fn_ += 1,
                (false, true) => counts.fp += 1,
                (false, false) => counts.tn += 1,
            }
        }
        counts
    }

    /// Share of the phishing rows that are flagged; none without such rows.
    pub(crate) fn recall(&self) -> Option<f64> {
        ratio(self.tp, self.tp + self.fn_)
    }

    /// Share of the legitimate rows that are flagged; none without such rows.
    pub(crate) fn false_positive_rate(&self) -> Option<f64> {
        ratio(self.fp, self.fp + self.tn)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// The 95 % interval of a share by Wilson (1927), without continuity correction.
pub(crate) fn wilson(successes: u64, trials: u64) -> Option<[f64; 2]> {
    const Z: f64 = 1.959_963_984_540_054;
    let n = trials as f64;
    let p = ratio(successes, trials)?;
    let centre = p + Z * Z / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    Some([((centre - spread) / scale).max(0.0), ((centre + spread) / scale).min(1.0)])
}

/// One point of the ROC curve: the rows with `logit >= threshold`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    threshold: f32,
    tp: u64,
    fp: u64,
}

/// The ROC curve: one point for each distinct logit, from the strictest rule on.
pub(crate) struct Roc {
    points: Vec<Point>,
    positives: u64,
    negatives: u64,
}

/// Recall at a given false-positive rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct RecallAt {
    pub(crate) false_positive_rate: f64,
    /// Whether at least 20 false positives are expected: below, the figures would be noise and
    /// are left out.
    pub(crate) resolvable: bool,
    pub(crate) recall: Option<f64>,
    /// 95 %: of the share, and of the threshold, which rests on few false positives.
    pub(crate) recall_interval: Option<[f64; 2]>,
    /// None where every rule flags too many.
    pub(crate) threshold: Option<f32>,
    pub(crate) tp: Option<u64>,
    pub(crate) fp: Option<u64>,
}

impl Roc {
    pub(crate) fn new(rows: &[Scored]) -> Self {
        let mut sorted: Vec<_> = rows.iter().map(|row| (row.logit, row.phishing)).collect();
        sorted.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let mut points: Vec<Point> = Vec::new();
        let (mut tp, mut fp) = (0, 0);
        for (logit, phishing) in sorted {
            if phishing {
                tp += 1;
            } else {
                fp += 1;
            }
            match points.last_mut() {
                // Comparing numbers, so that 0.0 and -0.0 are one threshold.
                Some(point) if point.threshold == logit => (point.tp, point.fp) = (tp, fp),
                _ => points.push(Point { threshold: logit, tp, fp }),
            }
        }
        Self { points, positives: tp, negatives: fp }
    }

    /// Area under the curve; a tie between a phishing and a legitimate row counts one half.
    pub(crate) fn auc(&self) -> Option<f64> {
        let (mut area, mut last) = (0.0, (0, 0));
        for point in &self.points {
            // Trapezium: twice its area in counts is exact.
            area += (point.fp - last.1) as f64 * (point.tp + last.0) as f64;
            last = (point.tp, point.fp);
        }
        let whole = self.positives as f64 * self.negatives as f64;
        (whole > 0.0).then(|| area / (2.0 * whole))
    }

    /// Σ (Rₙ − Rₙ₋₁) Pₙ over the distinct thresholds, without interpolation, as in scikit-learn.
    pub(crate) fn average_precision(&self) -> Option<f64> {
        let (mut sum, mut last) = (0.0, 0);
        for point in &self.points {
            let precision = point.tp as f64 / (point.tp + point.fp) as f64;
            sum += (point.tp - last) as f64 * precision;
            last = point.tp;
        }
        (self.positives > 0).then(|| sum / self.positives as f64)
    }

    /// The point of the highest recall that flags no more than this share of legitimate rows.
    fn best_within(&self, rate: f64) -> Option<&Point> {
        let within = |p: &&Point| p.fp as f64 / self.negatives as f64 <= rate;
        // Both counts only grow along the curve; of equal recalls the first costs least.
        self.points.iter().take_while(within).reduce(|a, b| if a.tp >= b.tp { a } else { b })
    }

    /// The highest recall among the points whose false-positive rate is at most `rate`.
    pub(crate) fn recall_at(&self, rate: f64) -> RecallAt {
        let mut answer = RecallAt {
            false_positive_rate: rate,
            resolvable: self.positives > 0 && self.negatives as f64 * rate >= 20.0,
            recall: None,
            recall_interval: None,
            threshold: None,
            tp: None,
            fp: None,
        };
        if !answer.resolvable {
            return answer;
        }
        let best = self.best_within(rate);
        let (tp, fp) = best.map_or((0, 0), |p| (p.tp, p.fp));
        answer.recall = ratio(tp, self.positives);
        answer.recall_interval = wilson(fp, self.negatives).and_then(|rates| {
            let [low, high] = rates.map(|rate| {
                let tp = self.best_within(rate).map_or(0, |p| p.tp);
                wilson(tp, self.positives)
            });
            Some([low?[0], high?[1]])
        });
        answer.threshold = best.map(|p| p.threshold);
        (answer.tp, answer.fp) = (Some(tp), Some(fp));
        answer
    }
}

/// Expected calibration error: Σ over 15 equal bins of |mean probability − share of phishing|,
/// each weighted by its content, with both classes weighing one half in all.
pub(crate) fn expected_calibration_error(rows: &[Scored]) -> Option<f64> {
    const BINS: usize = 15;
    let positives = rows.iter().filter(|row| row.phishing).count();
    let negatives = rows.len() - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    let mut gaps = [0.0; BINS];
    for row in rows {
        let bin = ((f64::from(row.probability) * BINS as f64) as usize).min(BINS - 1);
        let (label, weight) = if row.phishing {
            (1.0, 0.5 / positives as f64)
        } else {
            (0.0, 0.5 / negatives as f64)
        };
        if let Some(gap) = gaps.get_mut(bin) {
            *gap += weight * (f64::from(row.probability) - label);
        }
    }
    // A bin's weight times the gap of its weighted means is the sum of its weighted gaps.
    Some(gaps.iter().map(|gap: &f64| gap.abs()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(data: &[(u8, f32)]) -> Vec<Scored> {
        data.iter()
            .map(|&(label, logit)| Scored {
                phishing: label == 1,
                logit,
                probability: 1.0 / (1.0 + (-logit).exp()),
            })
            .collect()
    }

    fn close(a: Option<f64>, b: f64) {
        assert!((a.unwrap() - b).abs() < 1e-12, "{a:?} is not {b}");
    }

    /// scikit-learn's own example: y = 0 0 1 1, scores .1 .4 .35 .8 give AUC 0.75 and
    /// average precision 0.8333…
    #[test]
    fn the_example_of_scikit_learn() {
        let roc = Roc::new(&rows(&[(0, 0.1), (0, 0.4), (1, 0.35), (1, 0.8)]));
        close(roc.auc(), 0.75);
        close(roc.average_precision(), 0.5 * 1.0 + 0.5 * 2.0 / 3.0);
    }

    /// By pairs: of 3 × 2 pairs, 4 are right and 1 is a tie: 4.5 / 6.
    #[test]
    fn ties_count_one_half() {
        let roc = Roc::new(&rows(&[(1, 2.0), (0, 2.0), (1, 3.0), (1, -0.5), (0, -1.0)]));
        close(roc.auc(), 4.5 / 6.0);
        // Thresholds 3 (P 1), 2 (P 2/3), -0.5 (P 3/4), -1 (no new phishing).
        close(roc.average_precision(), (1.0 + 2.0 / 3.0 + 3.0 / 4.0) / 3.0);
    }

    #[test]
    fn all_equal_scores_say_nothing() {
        let roc = Roc::new(&rows(&[(1, 0.0), (0, -0.0), (0, 0.0), (1, -0.0)]));
        close(roc.auc(), 0.5);
        close(roc.average_precision(), 0.5);
    }

    #[test]
    fn one_class_has_no_curve() {
        let roc = Roc::new(&rows(&[(1, 0.0), (1, 1.0)]));
        assert_eq!(roc.auc(), None);
        close(roc.average_precision(), 1.0);
        assert_eq!(Roc::new(&rows(&[(0, 1.0)])).average_precision(), None);
        assert_eq!(expected_calibration_error(&rows(&[(0, 1.0)])), None);
        assert_eq!(Roc::new(&[]).auc(), None);
    }

    /// 2000 legitimate rows with logits 0 … 1999, so at 1 % exactly 20 may be flagged: threshold
    /// 1980. Four phishing rows: 3000, 1980 (tied with the twentieth), 1979.5, -1.
    #[test]
    fn recall_where_exactly_the_allowed_rows_are_flagged() {
        let mut data: Vec<(u8, f32)> = (0..2000_u16).map(|i| (0, f32::from(i))).collect();
        data.extend([(1, 3000.0), (1, 1980.0), (1, 1979.5), (1, -1.0)]);
        let roc = Roc::new(&rows(&data));
        let at = roc.recall_at(0.01);
        // 1979.5 flags no further legitimate row: it is the best point.
        assert_eq!((at.threshold, at.tp, at.fp), (Some(1979.5), Some(3), Some(20)));
        close(at.recall, 0.75);
        // 20 of 2000 stand for 0.65 to 1.54 %: the threshold could as well flag 12 or 30 rows.
        let [low, high] = [wilson(1, 4), wilson(3, 4)].map(Option::unwrap);
        assert_eq!(at.recall_interval, Some([low[0], high[1]]));
        let finer = roc.recall_at(0.001);
        assert_eq!((finer.resolvable, finer.recall, finer.fp), (false, None, None));
    }

    /// The strictest rule already flags too many: the empty point remains.
    #[test]
    fn recall_zero_when_no_rule_is_strict_enough() {
        let mut data = vec![(0, 5.0); 100];
        data.extend(vec![(0, 0.0); 1900]);
        data.push((1, 5.0));
        let at = Roc::new(&rows(&data)).recall_at(0.01);
        assert_eq!((at.threshold, at.tp, at.fp, at.recall), (None, Some(0), Some(0), Some(0.0)));
    }

    /// Of equal recalls the point with fewer false positives counts.
    #[test]
    fn the_cheapest_point_of_the_best_recall() {
        let mut data: Vec<(u8, f32)> = (0..2000_u16).map(|i| (0, f32::from(i))).collect();
        data.push((1, 1995.5));
        let at = Roc::new(&rows(&data)).recall_at(0.01);
        assert_eq!((at.threshold, at.tp, at.fp), (Some(1995.5), Some(1), Some(4)));
    }

    /// Values of statsmodels' proportion_confint(method="wilson").
    #[test]
    fn wilson_intervals() {
        let [low, high] = wilson(5, 10).unwrap();
        assert!((low - 0.236_593_090_5).abs() < 1e-9 && (high - 0.763_406_909_5).abs() < 1e-9);
        let [low, high] = wilson(0, 20).unwrap();
        assert!(low == 0.0 && (high - 0.161_125_158_1).abs() < 1e-9, "{high}");
        assert_eq!(wilson(0, 0), None);
    }

    #[test]
    fn confusion_counts_the_threshold_itself_as_flagged() {
        let data = rows(&[(1, 2.0), (1, 1.0), (0, 2.0), (0, 1.9), (0, 0.0)]);
        let counts = Confusion::at(2.0, data.iter());
        assert_eq!(counts, Confusion { tp: 1, fp: 1, fn_: 1, tn: 2 });
        close(counts.recall(), 0.5);
        close(counts.false_positive_rate(), 1.0 / 3.0);
    }

    /// One phishing row at 0.95, three legitimate ones at 0.95, 0.05, 0.05. The top bin holds the
    /// weights 1/2 and 1/6: its gap is (2/3)·0.95 − 1/2; the bottom bin's is (1/3)·0.05.
    #[test]
    fn calibration_error_weighs_the_classes_equally() {
        let p = |phishing, probability| Scored { phishing, logit: 0.0, probability };
        let data = [p(true, 0.95), p(false, 0.95), p(false, 0.05), p(false, 0.05)];
        let expected = (2.0 / 3.0 * 0.95 - 0.5) + 0.05 / 3.0;
        assert!((expected_calibration_error(&data).unwrap() - expected).abs() < 1e-7);
        // A probability of exactly 1 belongs to the last bin.
        let sure = [p(true, 1.0), p(false, 0.0)];
        close(expected_calibration_error(&sure), 0.0);
    }
}
