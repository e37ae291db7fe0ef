//! Everything that is wrong in one file, collected while the walk goes on.

use super::Span;
use crate::diagnostic::{Diagnostic, Severity, Source};

/// Collects the complaints about one source.
///
/// At most 1000 faults and as many warnings are kept, and the rest counted: a file of a million wrong lines
/// must not become a million quotations.
#[derive(Debug)]
pub struct Report<'s> {
    source: &'s Source,
    faults: Complaints,
    warnings: Complaints,
    /// Lines on which the file could not be read: what is complained about there is a consequence.
    broken_lines: Vec<u32>,
}

#[derive(Debug, Default)]
struct Complaints {
    kept: Vec<Diagnostic>,
    left_out: usize,
}

/// How many faults, and how many warnings, are kept for one file.
pub(super) const MAX_COMPLAINTS: usize = 1000;

impl<'s> Report<'s> {
    /// An empty report about `source`.
    pub fn new(source: &'s Source) -> Self {
        Self { source, faults: Complaints::default(), warnings: Complaints::default(), broken_lines: Vec::new() }
    }

    /// The file's text at `span`.
    pub fn quote(&self, span: Span) -> &'s str {
        self.source.text().get(span).unwrap_or_default()
    }

    /// Something that refuses the file, and what would do.
    pub fn fault(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        if self.faults.is_full() || !self.is_broken(&span) {
            self.faults.add(|| self.source.fault(span, message).hint(hint));
        }
    }

    /// Something that somebody should look at, and what would be better.
    pub fn warning(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.warnings.add(|| self.source.warning(span, message).hint(hint));
    }

    /// The file cannot be read here. Later faults on the same line are left out, since they follow from this one.
    pub(super) fn broken(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        if !self.faults.is_full() && self.is_broken(&span) {
            return;
        }
        if !self.faults.is_full() {
            self.broken_lines.push(self.source.place(span.start).line);
        }
        self.faults.add(|| self.source.fault(span, message).hint(hint));
    }

    fn is_broken(&self, span: &Span) -> bool {
        !self.broken_lines.is_empty() && self.broken_lines.contains(&self.source.place(span.start).line)
    }

    /// Whether a fault was reported.
    pub fn has_faults(&self) -> bool {
        !self.faults.kept.is_empty()
    }

    /// All complaints in the order of the file.
    pub fn finish(self) -> Vec<Diagnostic> {
        let path = self.source.path();
        let mut all = self.faults.kept;
        all.extend(self.warnings.kept);
        all.sort_by_key(|found| found.excerpt.as_ref().map_or((0, 0), |at| (at.line, at.column)));
        for (left_out, severity) in
            [(self.faults.left_out, Severity::Fault), (self.warnings.left_out, Severity::Warning)]
        {
            if left_out > 0 {
                let what = if severity == Severity::Fault { "faults" } else { "warnings" };
                let rest = Diagnostic::about(path.as_ref(), format!("and {left_out} more {what}"));
                all.push(Diagnostic { severity, ..rest });
            }
        }
        all
    }
}

impl Complaints {
    fn add(&mut self, complaint: impl FnOnce() -> Diagnostic) {
        if self.is_full() {
            self.left_out += 1;
        } else {
            self.kept.push(complaint());
        }
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= MAX_COMPLAINTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_come_in_the_order_of_the_file() {
        let source = Source::new("a", "one\ntwo\n");
        let mut report = Report::new(&source);
        report.fault(4..7, "second", "");
        report.warning(0..3, "first", "");
        let messages: Vec<_> = report.finish().into_iter().map(|found| found.message).collect();
        assert_eq!(messages, ["first", "second"]);
    }

    #[test]
    fn what_follows_from_a_broken_line_is_left_out() {
        let source = Source::new("a", "one\ntwo\n");
        let mut report = Report::new(&source);
        report.broken(0..1, "broken", "");
        report.broken(2..3, "broken there too", "");
        report.fault(1..2, "a consequence", "");
        report.fault(4..5, "another matter", "");
        let messages: Vec<_> = report.finish().into_iter().map(|found| found.message).collect();
        assert_eq!(messages, ["broken", "another matter"]);
    }

    #[test]
    fn too_many_complaints_are_counted() {
        let source = Source::new("a", "one");
        let mut report = Report::new(&source);
        (0..MAX_COMPLAINTS + 7).for_each(|_| report.fault(0..3, "wrong", ""));
        report.warning(0..3, "odd", "");
        let found = report.finish();
        assert_eq!(found.len(), MAX_COMPLAINTS + 2);
        assert_eq!(found[found.len() - 1].message, "and 7 more faults");
    }
}
