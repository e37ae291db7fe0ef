//! Prometheus' text format: families of samples, in order, everything escaped that needs it.

use std::fmt::{self, Write};
use std::time::Duration;

use crate::event::latency::Histogram;

/// Text in the format (version 0.0.4) as it grows.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

/// What a family's values do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// They only grow, until a restart.
    Counter,
    /// They go up and down.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
}

impl Exposition {
    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One sample of the family begun last.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.push(format_args!("{name}"));
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            self.push(format_args!("{before}{label}=\"{text}\""));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.push(format_args!("{after} {value}\n"));
    }

    /// The samples of one histogram of the family begun last: of each bucket by its upper bound, which are told apart by
    /// `label`.
    pub(super) fn histogram(&mut self, name: &str, label: (&str, &str), bounds: &[Duration], histogram: &Histogram) {
        let mut count = 0;
        let all = bounds.iter().map(|bound| bound.as_secs_f64().to_string()).chain(["+Inf".to_owned()]);
        for (bound, more) in all.zip(histogram.counts) {
            count += more;
            self.sample(&format!("{name}_bucket"), &[label, ("le", &bound)], count);
        }
        self.sample(&format!("{name}_sum"), &[label], histogram.sum.as_secs_f64());
        self.sample(&format!("{name}_count"), &[label], count);
    }

    /// A family with one sample and no labels.
    pub(super) fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl fmt::Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// The whole text.
    pub(super) fn finish(self) -> String {
        self.0
    }

    fn push(&mut self, text: fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes all text");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_help_are_escaped() {
        let mut text = Exposition::default();
        text.family("x_total", Kind::Counter, "a\nb");
        text.sample("x_total", &[("a", "q\"\\\n"), ("b", "")], 3);
        text.single("y", Kind::Gauge, "y", 0.5);
        assert_eq!(
            text.finish(),
            "# HELP x_total a\\nb\n# TYPE x_total counter\nx_total{a=\"q\\\"\\\\\\n\",b=\"\"} 3\n\
             # HELP y y\n# TYPE y gauge\ny 0.5\n"
        );
    }
}
