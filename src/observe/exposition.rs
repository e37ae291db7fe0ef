//! Prometheus' text format: families of samples, in order, everything escaped that needs it.

use std::fmt::{self, Write};

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
}

impl Exposition {
    /// Begins a family; its samples follow.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
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
