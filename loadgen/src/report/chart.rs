//! Line and bar charts as inline SVG, coloured by the page's style sheet, each point with its value to hover over. It knows no report.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
/// The style sheet has as many colours.
pub const COLORS: usize = 6;
/// Points of one line that have a place to hover over; of more, every so many.
const HOVERED_MAX: usize = 160;

/// One line: where, and what is said there.
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64, String)>,
}

/// An axis: its ends, whether it counts decades, and its marks.
pub struct Axis {
    pub label: &'static str,
    from: f64,
    to: f64,
    is_log: bool,
    marks: Vec<(f64, String)>,
}

impl Axis {
    /// From zero to beyond `max`, with round marks.
    pub fn linear(label: &'static str, max: f64, show: impl Fn(f64) -> String) -> Self {
        let max = if max > 0.0 && max.is_finite() { max } else { 1.0 };
        let decade = 10f64.powf(max.log10().floor());
        let step =
            [0.1, 0.2, 0.5, 1.0, 2.0].map(|part| part * decade).into_iter().find(|step| max / step <= 8.0);
        let step = step.unwrap_or(2.0 * decade);
        let count = (max / step).ceil().max(1.0) as u32;
        let marks = (0..=count).map(|index| f64::from(index) * step).map(|at| (at, show(at))).collect();
        Axis { label, from: 0.0, to: f64::from(count) * step, is_log: false, marks }
    }

    /// Whole decades around `min..max`, both above zero.
    pub fn log(label: &'static str, min: f64, max: f64, show: impl Fn(f64) -> String) -> Self {
        let min = if min > 0.0 && min.is_finite() { min } else { 1.0 };
        let (from, to) = (min.log10().floor(), max.max(min * 1.01).log10().ceil());
        let marks =
            (from as i32..=to as i32).map(|power| 10f64.powi(power)).map(|at| (at, show(at))).collect();
        Axis { label, from: 10f64.powf(from), to: 10f64.powf(to), is_log: true, marks }
    }

    /// Between the first and the last mark.
    pub fn marked(label: &'static str, marks: Vec<(f64, String)>) -> Self {
        let from = marks.first().map_or(0.0, |mark| mark.0);
        let to = marks.last().map_or(1.0, |mark| mark.0).max(from + f64::MIN_POSITIVE);
        Axis { label, from, to, is_log: false, marks }
    }

    /// 0 to 1 along the axis.
    fn place(&self, value: f64) -> f64 {
        let share = match self.is_log {
            true => (value.max(f64::MIN_POSITIVE) / self.from).ln() / (self.to / self.from).ln(),
            false => (value - self.from) / (self.to - self.from),
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.place(value) * (HEIGHT - TOP - BOTTOM)
    }
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn frame(title: &str, x: &Axis, y: &Axis) -> String {
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\"><g class=\"axis\">",
        escape(title)
    );
    // Writing to a string cannot fail.
    for (at, text) in &y.marks {
        let line = y.y(*at);
        let _ =
            write!(svg, "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{line:.1}\" y2=\"{line:.1}\"/>", WIDTH - RIGHT);
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            line + 4.0,
            escape(text)
        );
    }
    for (at, text) in &x.marks {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x.x(*at),
            HEIGHT - BOTTOM + 17.0,
            escape(text)
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text></g>",
        (LEFT + WIDTH) / 2.0,
        HEIGHT - 8.0,
        escape(x.label)
    );
    svg
}

fn figure(title: &str, y: &Axis, names: &[&str], svg: &str) -> String {
    let legend: String = (names.iter().enumerate())
        .map(|(index, name)| format!("<span class=\"k c{}\">{}</span>", index % COLORS, escape(name)))
        .collect();
    format!(
        "<figure><figcaption>{}<small> {}</small></figcaption>{svg}</svg><p class=\"legend\">{legend}</p></figure>",
        escape(title),
        escape(y.label)
    )
}

/// Lines over two axes.
pub fn lines(title: &str, x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let mut svg = frame(title, x, y);
    for (index, line) in lines.iter().enumerate() {
        let color = index % COLORS;
        let path: Vec<String> =
            line.points.iter().map(|(at, value, _)| format!("{:.1},{:.1}", x.x(*at), y.y(*value))).collect();
        let _ = write!(svg, "<polyline class=\"s c{color}\" points=\"{}\"/>", path.join(" "));
        for (at, value, said) in line.points.iter().step_by(line.points.len().div_ceil(HOVERED_MAX).max(1)) {
            let _ = write!(
                svg,
                "<circle class=\"h c{color}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\"><title>{}: {}</title></circle>",
                x.x(*at),
                y.y(*value),
                escape(&line.name),
                escape(said)
            );
        }
    }
    let names: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
    figure(title, y, &names, &svg)
}

/// A bar for each value.
pub fn bars(title: &str, x_label: &'static str, y: &Axis, bars: &[(f64, String)]) -> String {
    let count = bars.len().max(1) as f64;
    let x = Axis { label: x_label, from: 0.0, to: count, is_log: false, marks: Vec::new() };
    let mut svg = frame(title, &x, y);
    for (index, (value, said)) in bars.iter().enumerate() {
        let (left, right) = (x.x(index as f64 + 0.1), x.x(index as f64 + 0.9));
        let top = y.y(*value);
        let _ = write!(
            svg,
            "<rect class=\"b c0\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
            right - left,
            HEIGHT - BOTTOM - top,
            escape(said)
        );
    }
    figure(title, y, &[], &svg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn axes_have_round_marks_around_what_they_show() {
        let axis = Axis::linear("x", 4700.0, |at| format!("{at}"));
        let marks: Vec<&str> = axis.marks.iter().map(|mark| mark.1.as_str()).collect();
        assert_eq!(marks, ["0", "1000", "2000", "3000", "4000", "5000"]);
        let axis = Axis::log("x", 3.0, 800.0, |at| format!("{at}"));
        assert_eq!((axis.from, axis.to, axis.marks.len()), (1.0, 1000.0, 4));
        assert!((axis.place(31.622_776) - 0.5).abs() < 1e-6);
    }

    proptest! {
        /// Whatever the values, a picture comes out whose coordinates lie in it.
        #[test]
        fn every_point_lies_in_the_picture(values in proptest::collection::vec(any::<f64>(), 0..50), is_log: bool) {
            let max = values.iter().copied().fold(0.0, f64::max);
            let y = if is_log { Axis::log("y", 1.0, max, |at| format!("{at}")) } else { Axis::linear("y", max, |at| format!("{at}")) };
            prop_assert!(y.marks.len() < 700);
            for value in values {
                let at = y.y(value);
                prop_assert!((TOP - 0.01..=HEIGHT).contains(&at), "{} at {}", value, at);
            }
        }
    }
}
