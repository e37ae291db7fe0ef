//! Questions that were asked, judged by another policy: which of them would be answered otherwise.
//!
//! Plain values in and out: whoever keeps a history hands it in, however it is kept.

use std::borrow::Borrow;

use crate::name::DomainName;
use crate::policy::judge::{Asker, Judgement};
use crate::policy::snapshot::Snapshot;

/// A question that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who asked, and where they reached us.
    pub asker: Asker,
    /// For which name.
    pub name: DomainName,
}

/// A question that two policies decide differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flip<'s, Q> {
    /// The question.
    pub asked: Q,
    /// What the old policy says.
    pub old: Judgement<'s>,
    /// What the new policy says.
    pub new: Judgement<'s>,
}

/// The questions of a history that `new` decides otherwise than `old`: another verdict, whatever the reason. In the order
/// of the history, one a question.
pub fn flips<'s, Q: Borrow<Asked>>(
    old: &'s Snapshot,
    new: &'s Snapshot,
    history: impl IntoIterator<Item = Q>,
) -> impl Iterator<Item = Flip<'s, Q>> {
    history.into_iter().filter_map(move |asked| {
        let Asked { asker, name } = asked.borrow();
        let (before, after) = (old.judge(asker, name.as_name()), new.judge(asker, name.as_name()));
        (before.verdict.word() != after.verdict.word()).then_some(Flip { asked, old: before, new: after })
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::diagnostic::Source;
    use crate::policy::compile::{Options, load};

    fn policy(text: &str) -> Snapshot {
        let source = Source::new("p.toml", format!("version = 1\n{text}"));
        load(vec![source], &Options::default(), SystemTime::UNIX_EPOCH).unwrap().snapshot
    }

    fn asked(client: &str, listener: Option<&str>, name: &str) -> Asked {
        let listener = listener.map(|listener| listener.parse().unwrap());
        Asked { asker: Asker { client: client.parse().unwrap(), listener }, name: name.parse().unwrap() }
    }

    /// Two groups, one by its listener; `hosts` is what both may use.
    fn groups(hosts: &str, mode: &str) -> Snapshot {
        policy(&format!(
            "[[registry]]\nname = \"r\"\nhosts = [{hosts}]\n[[group]]\nname = \"ci\"\nclients = [\"10.0.0.0/8\"]\n\
             registries = [\"*\"]\n[[group]]\nname = \"vm\"\nlisten = [\"172.18.0.1:53\"]\nregistries = [\"*\"]\nmode = {mode:?}\n"
        ))
    }

    #[test]
    fn a_question_that_is_decided_otherwise_is_a_flip_with_both_verdicts() {
        let (old, new) = (groups("\"a.example\"", "enforce"), groups("\"b.example\"", "audit"));
        let history = [
            asked("10.0.0.1", None, "a.example"),
            asked("10.0.0.1", None, "c.example"),
            asked("192.0.2.1", Some("172.18.0.1:53"), "a.example"),
            asked("192.0.2.1", Some("172.18.0.1:53"), "c.example"),
            asked("10.0.0.1", None, "b.example"),
        ];
        let told: Vec<_> = flips(&old, &new, &history)
            .map(|flip| (flip.asked.name.to_string(), flip.old.verdict.word(), flip.new.verdict.word()))
            .collect();
        let expected = [
            ("a.example", "allow", "deny"),
            ("a.example", "allow", "audit"),
            ("c.example", "deny", "audit"),
            ("b.example", "deny", "allow"),
        ];
        assert_eq!(told, expected.map(|(name, old, new)| (name.to_owned(), old, new)));
    }

    #[test]
    fn another_rule_for_the_same_verdict_is_no_flip() {
        let (old, new) = (groups("\"a.example\"", "enforce"), groups("\"*.example\"", "enforce"));
        assert_eq!(flips(&old, &new, [asked("10.0.0.1", None, "a.example")]).count(), 0);
        assert_eq!(flips(&old, &old, [asked("10.0.0.1", None, "b.example")]).count(), 0);
    }
}
