//! Questions that were asked, judged by another policy: which of them would be answered otherwise.
//!
//! Plain values in and out: whoever keeps a history hands it in, however it is kept. A history does not know where a client
//! reached us. So a question is judged by its client's address where that alone puts the client into the group that it was
//! in, and by that group where it does not.

use std::net::IpAddr;

use crate::name::DomainName;
use crate::policy::images::{Access, Badge, ImageVerdict};
use crate::policy::judge::{Asker, Judgement, Verdict};
use crate::policy::repository::Repository;
use crate::policy::snapshot::{GroupRef, Snapshot};

/// A question that was asked, or a request for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who asked; `None`: various clients.
    pub client: Option<IpAddr>,
    /// The group that the client was in.
    pub group: Option<String>,
    /// For which name.
    pub name: DomainName,
    /// For which image there; `None`: it is about the name.
    pub image: Option<AskedImage>,
}

/// An image that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedImage {
    /// The repository.
    pub repository: Repository,
    /// What was to be done.
    pub access: Access,
    /// What the Hub said of the namespace, as far as that is known.
    pub badge: Option<Badge>,
}

/// What a question is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Its client's address.
    Address,
    /// The group that its client was in, where the policy has it; else its client's address.
    Group,
}

/// What a policy says to what was asked.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'s> {
    /// To a name; to an image, if all of its registry are one to the policy.
    Name(Verdict<'s>),
    /// To an image.
    Image(ImageVerdict<'s>),
}

/// A question that two policies decide differently.
#[derive(Clone, Copy, Debug)]
pub struct Flip<'s> {
    /// What the old policy says.
    pub old: Answer<'s>,
    /// What the new policy says.
    pub new: Answer<'s>,
}

/// What a question comes to under another policy.
#[derive(Clone, Copy, Debug)]
pub enum Replayed<'s> {
    /// The same verdict, whatever the reason.
    Same,
    /// Another.
    Flipped(Flip<'s>),
    /// It cannot be told on whose behalf it would be judged, or only the Hub knows whose image it is.
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

    /// What a policy says to it; `None`: it is for various clients, whose group the policy does not have, or for an image
    /// of which only the Hub knows whose it is.
    pub fn judge<'s>(&'s self, policy: &'s Snapshot, by: By) -> Option<Answer<'s>> {
        let judgement = self.judge_name(policy, by)?;
        let Some(AskedImage { repository, access, badge }) = &self.image else {
            return Some(Answer::Name(judgement.verdict));
        };
        match policy.inspected_images(judgement, self.client) {
            None => Some(Answer::Name(judgement.verdict)),
            Some(rules) => match rules.judge(repository, *access, *badge) {
                ImageVerdict::NeedsBadge => None,
                verdict => Some(Answer::Image(verdict)),
            },
        }
    }

    fn judge_name<'s>(&self, policy: &'s Snapshot, by: By) -> Option<Judgement<'s>> {
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
    pub fn replay<'s>(&'s self, old: &'s Snapshot, new: &'s Snapshot) -> Replayed<'s> {
        let by = self.by(old);
        match (self.judge(old, by), self.judge(new, by)) {
            (Some(old), Some(new)) if old.word() == new.word() => Replayed::Same,
            (Some(old), Some(new)) => Replayed::Flipped(Flip { old, new }),
            _ => Replayed::Unknown,
        }
    }
}

impl AskedImage {
    /// Reads one; `None`: it is no repository, or nothing that is done with one.
    pub fn read(repository: &str, action: &str, badge: Option<Badge>) -> Option<Self> {
        let (repository, access) = (Repository::parse(repository).ok()?, Access::from_word(action)?);
        Some(Self { repository, access, badge })
    }
}

impl Answer<'_> {
    /// `allow`, `deny` or `audit`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Name(verdict) => verdict.word(),
            Self::Image(verdict) => verdict.word(),
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
        Asked { client, group: group.map(str::to_owned), name: name.parse().unwrap(), image: None }
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
            Replayed::Flipped(Flip { old, new }) => format!("{} {}", old.word(), new.word()),
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
        assert_eq!(told(asked(Some("10.0.0.1"), Some("ci"), "a.example").replay(&old, &new)), "same");
        assert_eq!(told(asked(Some("10.0.0.1"), Some("ci"), "b.example").replay(&old, &old)), "same");
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

    #[test]
    fn an_image_is_judged_by_the_images_of_its_registry_and_where_there_are_none_by_its_name() {
        let of = |allow: &str, path: &str, more: &str| {
            let text =
                format!("version = 1\n[[registry]]\npreset = \"docker-hub\"\npath = \"{path}\"\n{more}\n{allow}");
            let options = Options { has_gateway: true, ..Options::default() };
            load(vec![Source::new("p.toml", text)], &options, SystemTime::UNIX_EPOCH).unwrap().snapshot
        };
        let images = |keys: &str| of(&format!("[[images]]\nregistry = \"docker-hub\"\n{keys}"), "inspect", "");
        let strict = images("community = \"deny\"\nverified-publishers = \"allow\"");
        let listed = images("community = \"deny\"\nverified-publishers = \"allow\"\nallow = [\"team/app\"]");
        let denied = images("community = \"deny\"\nmode = \"audit\"\ndeny = [\"team/app\"]");
        let passed = of("", "pass", "");
        let without = policy("[[registry]]\nname = \"r\"\nhosts = [\"r.example\"]\n");
        let wanted = |badge| Asked {
            image: Some(AskedImage { repository: "team/app".parse().unwrap(), access: Access::Pull, badge }),
            ..asked(Some("10.0.0.1"), None, "registry-1.docker.io")
        };
        let community = Some(Badge::Unbadged);
        for (badge, old, new, expected) in [
            (community, &strict, &listed, "deny allow"),
            (community, &listed, &strict, "allow deny"),
            (community, &strict, &denied, "deny audit"),
            (community, &strict, &passed, "deny allow"),
            (community, &passed, &without, "allow deny"),
            (Some(Badge::VerifiedPublisher), &strict, &listed, "same"),
            (None, &strict, &listed, "unknown"),
            (None, &listed, &passed, "same"),
        ] {
            assert_eq!(told(wanted(badge).replay(old, new)), expected, "{badge:?}");
        }
    }
}
