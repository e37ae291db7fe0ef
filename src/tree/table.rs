//! Keys with values, from which a reader takes what it knows.

use std::borrow::Cow;

use super::{Node, Report, Span, alternatives};

/// Keys with values, in file order.
#[derive(Clone, Debug)]
pub struct Table<'s> {
    members: Vec<Member<'s>>,
    /// What was asked for, to suggest when something else is left.
    known: Vec<&'static str>,
    span: Span,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub struct Member<'s> {
    /// The key.
    pub key: Cow<'s, str>,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node<'s>,
}

impl<'s> Table<'s> {
    pub(super) fn new(members: Vec<Member<'s>>, span: Span) -> Self {
        Self { members, known: Vec::new(), span }
    }

    /// Where it stands: its header in TOML, from brace to brace otherwise.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// Takes a key's value out.
    pub fn take(&mut self, key: &'static str) -> Option<Node<'s>> {
        self.known.push(key);
        let index = self.members.iter().position(|member| member.key == key)?;
        Some(self.members.remove(index).value)
    }

    /// The same; it is a fault when the key is not there.
    pub fn require(&mut self, key: &'static str, example: &str, report: &mut Report<'_>) -> Option<Node<'s>> {
        let node = self.take(key);
        if node.is_none() {
            report.fault(self.span(), format!("`{key}` is missing"), format!("write `{key} = {example}`"));
        }
        node
    }

    /// Ends the reading: whatever was not taken is an unknown key.
    pub fn finish(self, report: &mut Report<'_>) {
        for member in self.members {
            let hint = if self.known.is_empty() {
                "leave it out".to_owned()
            } else {
                alternatives(&member.key, self.known.iter().copied())
            };
            report.fault(member.key_span, format!("unknown key `{}`", member.key), hint);
        }
    }

    /// A key's value, which stays.
    pub fn get(&self, key: &str) -> Option<&Node<'s>> {
        self.members.iter().find(|member| member.key == key).map(|member| &member.value)
    }

    /// Takes all that is left, for tables whose keys are data.
    pub fn take_all(&mut self) -> Vec<Member<'s>> {
        std::mem::take(&mut self.members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::tree::{Format, parse};

    fn faults(text: &str, read: impl FnOnce(&mut Table<'_>, &mut Report<'_>)) -> Vec<String> {
        let source = Source::new("a.toml", text);
        let mut report = Report::new(&source);
        let mut table = parse(&source, Format::Toml, &mut report).unwrap();
        read(&mut table, &mut report);
        table.finish(&mut report);
        report.finish().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_unknown_key_is_pointed_at_with_the_nearest_known_one() {
        let read = |table: &mut Table<'_>, _: &mut Report<'_>| {
            table.take("private-addresses");
            table.take("hosts");
        };
        assert_eq!(
            faults("private_adresses = true", read),
            [
                "a.toml:1:1: unknown key `private_adresses`\n  1 | private_adresses = true\n    | ^^^^^^^^^^^^^^^^\n  hint: did you mean `private-addresses`?"
            ]
        );
        assert!(faults("colour = 1", read)[0].ends_with("hint: write one of `private-addresses`, `hosts`"));
    }

    #[test]
    fn a_missing_key_says_what_to_write() {
        let read = |table: &mut Table<'_>, report: &mut Report<'_>| {
            table.require("version", "1", report);
        };
        assert!(faults("", read)[0].contains("`version` is missing"));
    }

    #[test]
    fn keys_keep_the_order_of_the_file() {
        let source = Source::new("a.toml", "z = 1\na = 2\n");
        let mut report = Report::new(&source);
        let mut table = parse(&source, Format::Toml, &mut report).unwrap();
        let keys: Vec<_> = table.take_all().into_iter().map(|member| member.key).collect();
        assert_eq!(keys, ["z", "a"]);
    }
}
