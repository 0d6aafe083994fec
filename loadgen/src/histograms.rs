//! What a run measures of time: response, service and lag, each a histogram of its own, and the course of the response. It decides nothing.
//!
//! ```text
//! intended ------ lag ------> sent ------ service ------> answered
//!    \------------------------ response -------------------/
//! ```
//! A histogram travels as HdrHistogram's V2 encoding, deflated, in base64: any of its tools reads that, and two of them add up exactly.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// Times above this are recorded as this.
pub const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// Significant digits of a run's histograms, and of each step of its course.
pub const DIGITS: u8 = 3;
const COURSE_DIGITS: u8 = 2;

/// Steps that the measured time is cut into, and the shortest.
pub const COURSE_STEPS: u64 = 60;
const COURSE_STEP_NS_MIN: u64 = 20_000_000;

/// An empty histogram of nanoseconds.
pub fn empty(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, digits.clamp(1, 5))
        .unwrap_or_else(|_| unreachable!("the bounds are constants that the histogram accepts"))
}

/// V2, deflated, base64; empty for one without values.
pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    let written = V2DeflateSerializer::new().serialize(histogram, &mut bytes);
    if histogram.is_empty() || written.is_err() { String::new() } else { STANDARD.encode(bytes) }
}

/// Reads what [`encode`] wrote.
pub fn decode(text: &str) -> Result<Histogram<u64>, String> {
    if text.is_empty() {
        return Ok(empty(DIGITS));
    }
    let bytes = STANDARD.decode(text).map_err(|error| format!("a histogram that is not base64: {error}"))?;
    Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|error| format!("a histogram that is not V2 of HdrHistogram: {error:?}"))
}

/// A histogram that takes equal values in a row together, as answers of one datagram mostly are.
#[derive(Clone)]
pub struct Recorder {
    histogram: Histogram<u64>,
    value: u64,
    count: u64,
}

impl Recorder {
    pub fn new(digits: u8) -> Self {
        Recorder { histogram: empty(digits), value: 0, count: 0 }
    }

    /// Goes on from a histogram.
    pub fn of(histogram: Histogram<u64>) -> Self {
        Recorder { histogram, value: 0, count: 0 }
    }

    #[inline]
    pub fn record(&mut self, value: u64, count: u64) {
        if value != self.value {
            self.settle();
            self.value = value;
        }
        self.count += count;
    }

    fn settle(&mut self) {
        if self.count > 0 {
            self.histogram.saturating_record_n(self.value.clamp(1, LATENCY_NS_MAX), self.count);
            self.count = 0;
        }
    }

    pub fn histogram(&mut self) -> &Histogram<u64> {
        self.settle();
        &self.histogram
    }
}

/// When a request was meant to leave, and when it left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    pub intended_ns: u64,
    pub sent_ns: u64,
}

impl From<u64> for Timing {
    /// A closed loop intends what it sends.
    fn from(now_ns: u64) -> Self {
        Timing { intended_ns: now_ns, sent_ns: now_ns }
    }
}

/// One step of the course of a run: the requests intended in it.
#[derive(Clone)]
pub struct Step {
    pub response: Recorder,
}

/// How the response went over the measured time.
#[derive(Clone)]
pub struct Course {
    from_ns: u64,
    pub step_ns: u64,
    pub steps: Vec<Step>,
}

impl Course {
    pub fn new(duration_ns: u64) -> Self {
        let step_ns = duration_ns.div_ceil(COURSE_STEPS).max(COURSE_STEP_NS_MIN);
        let count = duration_ns.div_ceil(step_ns).clamp(1, COURSE_STEPS) as usize;
        let step = Step { response: Recorder::new(COURSE_DIGITS) };
        Course { from_ns: 0, step_ns, steps: vec![step; count] }
    }

    /// Steps that were measured elsewhere.
    pub fn of(step_ns: u64, steps: Vec<Step>) -> Self {
        Course { from_ns: 0, step_ns: step_ns.max(1), steps }
    }

    #[inline]
    fn record(&mut self, intended_ns: u64, response_ns: u64, count: u64) {
        let at = (intended_ns.saturating_sub(self.from_ns) / self.step_ns) as usize;
        let last = self.steps.len() - 1;
        self.steps[at.min(last)].response.record(response_ns, count);
    }

    /// Adds another part of the same run.
    pub fn add(&mut self, other: &mut Course) {
        for (mine, theirs) in self.steps.iter_mut().zip(&mut other.steps) {
            mine.response.settle();
            // Same bounds: every value fits.
            let _ = mine.response.histogram.add(theirs.response.histogram());
        }
    }
}

/// What one thread measures.
#[derive(Clone)]
pub struct Measurements {
    pub response: Recorder,
    pub service: Recorder,
    pub lag: Recorder,
    pub course: Course,
}

impl Measurements {
    /// All memory is taken here.
    pub fn new(duration_ns: u64) -> Self {
        Measurements {
            response: Recorder::new(DIGITS),
            service: Recorder::new(DIGITS),
            lag: Recorder::new(DIGITS),
            course: Course::new(duration_ns),
        }
    }

    pub fn start_at(&mut self, from_ns: u64) {
        self.course.from_ns = from_ns;
    }

    /// `count` requests of one timing were answered at `now_ns`.
    #[inline]
    pub fn record(&mut self, timing: Timing, count: u64, now_ns: u64) {
        let response_ns = now_ns.saturating_sub(timing.intended_ns);
        self.response.record(response_ns, count);
        self.service.record(now_ns.saturating_sub(timing.sent_ns), count);
        self.course.record(timing.intended_ns, response_ns, count);
    }

    /// Adds what another thread, or another generator, measured of the same run.
    pub fn add(&mut self, other: &mut Measurements) {
        for (mine, theirs) in [
            (&mut self.response, &mut other.response),
            (&mut self.service, &mut other.service),
            (&mut self.lag, &mut other.lag),
        ] {
            mine.settle();
            // Same bounds: every value fits.
            let _ = mine.histogram.add(theirs.histogram());
        }
        self.course.add(&mut other.course);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Two generators' histograms, sent as text and added, equal one generator's over the same requests, bucket by bucket.
        #[test]
        fn merged_histograms_equal_one_of_all(values in proptest::collection::vec((any::<bool>(), 1u64..1 << 41), 1..500)) {
            let (mut one, mut halves) = (Measurements::new(1), [Measurements::new(1), Measurements::new(1)]);
            for &(half, value) in &values {
                let timing = Timing { intended_ns: 5, sent_ns: 5 + value / 3 };
                one.record(timing, 1, 5 + value);
                halves[usize::from(half)].record(timing, 1, 5 + value);
            }
            for pick in [|m: &mut Measurements| m.response.histogram().clone(), |m: &mut Measurements| m.service.histogram().clone()] {
                let mut merged = decode(&encode(&pick(&mut halves[0]))).unwrap();
                merged.add(decode(&encode(&pick(&mut halves[1]))).unwrap()).unwrap();
                let all = pick(&mut one);
                prop_assert_eq!(&merged, &all);
                prop_assert_eq!(all.len(), values.len() as u64);
                prop_assert_eq!(encode(&merged), encode(&all));
            }
            let [mut first, mut second] = halves;
            first.add(&mut second);
            prop_assert_eq!(first.response.histogram(), one.response.histogram());
            prop_assert_eq!(first.course.steps[0].response.histogram(), one.course.steps[0].response.histogram());
        }

        #[test]
        fn no_text_is_read_as_a_histogram_by_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&STANDARD.encode(&bytes));
            let _ = decode(&String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn the_course_has_a_step_for_every_part_of_the_time() {
        let mut course = Course::new(1_000_000_000);
        assert_eq!((course.steps.len(), course.step_ns), (50, 20_000_000));
        course.from_ns = 1_000;
        course.record(1_000, 7, 1);
        course.record(1_000 + 999_999_999, 8, 2);
        course.record(9_000_000_000, 9, 1);
        assert_eq!(course.steps[0].response.histogram().len(), 1);
        assert_eq!(course.steps[49].response.histogram().len(), 3);
        assert_eq!(Course::new(3_600_000_000_000).steps.len(), 60);
    }
}
