//! Questions that were asked, judged by another policy: which of them would be answered otherwise.
//!
//! Plain values in and out: whoever keeps a history hands it in, however it is kept. A history does not know where a client
//! reached us. So a question is judged by its client's address where that alone puts the client into the group that it was
//! in, and by that group where it does not.

use std::net::IpAddr;

use crate::name::DomainName;
use crate::policy::judge::{Asker, Judgement};
use crate::policy::snapshot::{GroupRef, Snapshot};

/// A question that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who asked; `None`: various clients.
    pub client: Option<IpAddr>,
    /// The group that the client was in.
    pub group: Option<String>,
    /// For which name.
    pub name: DomainName,
}

/// What a question is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Its client's address.
    Address,
    /// The group that its client was in, where the policy has it; else its client's address.
    Group,
}

/// A question that two policies decide differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip<'s> {
    /// What the old policy says.
    pub old: Judgement<'s>,
    /// What the new policy says.
    pub new: Judgement<'s>,
}

/// What a question comes to under another policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed<'s> {
    /// The same verdict, whatever the reason.
    Same,
    /// Another.
    Flipped(Flip<'s>),
    /// It cannot be told on whose behalf it would be judged.
    Unknown,
}

impl Asked {
    /// What the question is to be judged by, as the policy says under which it was asked, or one like it.
    pub fn by(&self, policy: &Snapshot) -> By {
        let Some(client) = self.client else { return By::Group };
        let judgement = policy.judge(&asker(client), self.name.as_name());
        let group = judgement.group.and_then(GroupRef::known_name);
        if group == self.group.as_deref() { By::Address } else { By::Group }
    }

    /// What a policy says to it; `None`: it is for various clients, whose group the policy does not have.
    pub fn judge<'s>(&self, policy: &'s Snapshot, by: By) -> Option<Judgement<'s>> {
        let name = self.name.as_name();
        let of_client = || self.client.map(|client| policy.judge(&asker(client), name));
        if by == By::Address {
            return of_client();
        }
        let group = self.group.as_ref().and_then(|group| policy.find_group(group));
        let has_no_groups = policy.groups().next().is_none();
        match group {
            Some(group) => Some(policy.judge_as(Some(group), name)),
            None => of_client().or_else(|| has_no_groups.then(|| policy.judge_as(None, name))),
        }
    }

    /// Whether `new` decides it otherwise than `old`.
    pub fn replay<'s>(&self, old: &'s Snapshot, new: &'s Snapshot) -> Replayed<'s> {
        let by = self.by(old);
        match (self.judge(old, by), self.judge(new, by)) {
            (Some(old), Some(new)) if old.verdict.word() == new.verdict.word() => Replayed::Same,
            (Some(old), Some(new)) => Replayed::Flipped(Flip { old, new }),
            _ => Replayed::Unknown,
        }
    }
}

fn asker(client: IpAddr) -> Asker {
    Asker { client, listener: None }
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

    fn asked(client: Option<&str>, group: Option<&str>, name: &str) -> Asked {
        let client = client.map(|client| client.parse().unwrap());
        Asked { client, group: group.map(str::to_owned), name: name.parse().unwrap() }
    }

    /// Two groups, one by its listener; `hosts` is what both may use.
    fn groups(hosts: &str, mode: &str) -> Snapshot {
        policy(&format!(
            "[[registry]]\nname = \"r\"\nhosts = [{hosts}]\n[[group]]\nname = \"ci\"\nclients = [\"10.0.0.0/8\"]\n\
             registries = [\"*\"]\n[[group]]\nname = \"vm\"\nlisten = [\"172.18.0.1:53\"]\nregistries = [\"*\"]\nmode = {mode:?}\n"
        ))
    }

    fn told(replayed: Replayed<'_>) -> String {
        match replayed {
            Replayed::Same => "same".to_owned(),
            Replayed::Flipped(Flip { old, new }) => format!("{} {}", old.verdict.word(), new.verdict.word()),
            Replayed::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn a_question_that_is_decided_otherwise_is_a_flip_with_both_verdicts() {
        let (old, new) = (groups("\"a.example\"", "enforce"), groups("\"b.example\"", "audit"));
        for (client, group, name, expected) in [
            (Some("10.0.0.1"), Some("ci"), "a.example", "allow deny"),
            (Some("10.0.0.1"), Some("ci"), "c.example", "same"),
            (Some("10.0.0.1"), Some("ci"), "b.example", "deny allow"),
            (Some("192.0.2.1"), Some("vm"), "a.example", "allow audit"),
            (None, Some("vm"), "c.example", "deny audit"),
            (None, None, "c.example", "unknown"),
            (None, Some("gone"), "c.example", "unknown"),
            (Some("10.0.0.1"), Some("gone"), "b.example", "deny allow"),
        ] {
            assert_eq!(told(asked(client, group, name).replay(&old, &new)), expected, "{client:?} {group:?} {name}");
        }
    }

    #[test]
    fn another_rule_for_the_same_verdict_is_no_flip() {
        let (old, new) = (groups("\"a.example\"", "enforce"), groups("\"*.example\"", "enforce"));
        assert_eq!(asked(Some("10.0.0.1"), Some("ci"), "a.example").replay(&old, &new), Replayed::Same);
        assert_eq!(asked(Some("10.0.0.1"), Some("ci"), "b.example").replay(&old, &old), Replayed::Same);
    }

    #[test]
    fn a_client_that_goes_to_another_group_is_judged_in_that_and_one_known_by_its_listener_stays() {
        let old = groups("\"a.example\"", "enforce");
        let moved = policy(
            "[[registry]]\nname = \"r\"\nhosts = [\"a.example\"]\n[[group]]\nname = \"ci\"\nclients = [\"10.1.0.0/16\"]\n\
             registries = [\"*\"]\n[[group]]\nname = \"vm\"\nregistries = [\"*\"]\n[[group]]\nname = \"default\"\n",
        );
        assert_eq!(told(asked(Some("10.0.0.1"), Some("ci"), "a.example").replay(&old, &moved)), "allow deny");
        assert_eq!(told(asked(Some("10.1.0.1"), Some("ci"), "a.example").replay(&old, &moved)), "same");
        assert_eq!(told(asked(Some("192.0.2.1"), Some("vm"), "a.example").replay(&old, &moved)), "same");
    }

    #[test]
    fn without_groups_everyone_is_judged_alike() {
        let old = policy("[[registry]]\nname = \"r\"\nhosts = [\"a.example\"]\n");
        let new = policy("[[registry]]\nname = \"r\"\nhosts = [\"b.example\"]\n");
        assert_eq!(told(asked(None, None, "a.example").replay(&old, &new)), "allow deny");
        assert_eq!(told(asked(Some("10.0.0.1"), None, "b.example").replay(&old, &new)), "deny allow");
    }
}
