//! What is shown while something runs: a bar with the live rate on a terminal, plain lines elsewhere. On standard error only.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::table::grouped;

/// Without a terminal: one line in this time.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// Shows how far something is.
pub struct Progress {
    bar: Option<ProgressBar>,
    lines: bool,
    line_at: Instant,
}

impl Progress {
    /// Progress towards `length` of whatever is counted; 0 if nobody knows how much there is.
    pub fn new(length: u64, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (!quiet && terminal).then(|| {
            let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
            let template = if length > 0 {
                "{elapsed_precise} {bar:30} {percent:>3}% {msg}"
            } else {
                "{elapsed_precise} {msg}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        Progress { bar, lines: !quiet && !terminal, line_at: Instant::now() + LINE_INTERVAL }
    }

    /// Call a few times a second.
    pub fn update(&mut self, position: u64, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            bar.set_message(message());
        } else if self.lines && Instant::now() >= self.line_at {
            self.line_at = Instant::now() + LINE_INTERVAL;
            // Nobody may be listening; that is no reason to stop.
            let _ = writeln!(std::io::stderr(), "{}", message());
        }
    }

    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// The message of a running load test.
pub fn rate_message(orders_per_second: f64, sent: u64, answered: u64) -> String {
    format!(
        "{} orders/s, {} sent, {} outstanding",
        grouped(orders_per_second),
        grouped(sent as f64),
        grouped(sent.saturating_sub(answered) as f64)
    )
}
