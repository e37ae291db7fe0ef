//! How often each rule of the policy decided, and when last; forgotten when the rule leaves the policy. A rule is a pattern
//! of names, or a written key of an `[[images]]` with one value.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use foldhash::HashMap;

use crate::event::images::ImageKey;
use crate::policy::images::{ImagesRef, Key};
use crate::policy::snapshot::{EntryKind, RuleRef, Snapshot};
use crate::policy::store::InForce;

/// A rule as it is known from one policy to the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleKey {
    /// What it is of.
    pub kind: RuleKind,
    /// Its entry's name, of images the registry's; empty for a `[[deny]]`.
    pub entry: String,
    /// Its pattern; of images the key with its value: `allow = "prom/*"`.
    pub pattern: String,
}

/// What a rule is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleKind {
    /// A registry, a service or a `[[deny]]`.
    Entry(EntryKind),
    /// An `[[images]]`.
    Images,
}

/// How often a rule decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// How often since the start.
    pub count: u64,
    /// When last, if ever: before the start, too, where there is a history.
    pub last: Option<SystemTime>,
}

/// The hits of the rules in force that had any.
#[derive(Debug, Default)]
pub struct RuleHits {
    hits: HashMap<Arc<RuleKey>, Hits>,
    /// The keys of rules of `policy` by their numbers: what is hit every second is written out once.
    keys: HashMap<u32, Arc<RuleKey>>,
    /// The keys of the images of `policy`.
    images: HashSet<RuleKey>,
    policy: Option<Arc<InForce>>,
    unkept: u64,
}

impl RuleKey {
    /// The rule's.
    pub fn of(rule: RuleRef<'_>) -> Self {
        let entry = rule.entry();
        let kind = RuleKind::Entry(entry.kind);
        Self { kind, entry: entry.name.clone(), pattern: rule.pattern().to_string() }
    }

    /// The one of a key of these images.
    pub fn of_images(images: ImagesRef<'_>, key: &Key) -> Self {
        Self { kind: RuleKind::Images, entry: images.registry().to_owned(), pattern: key.to_string() }
    }

    /// All of a policy, in the order of its files, those of images last. What two tables of a registry both write is one.
    pub fn all(policy: &Snapshot) -> impl Iterator<Item = Self> {
        policy.rules().map(Self::of).chain(of_all_images(policy))
    }
}

fn of_all_images(policy: &Snapshot) -> impl Iterator<Item = RuleKey> {
    policy.images().flat_map(|images| images.rules().into_iter().map(move |key| RuleKey::of_images(images, key)))
}

impl From<ImageKey> for RuleKey {
    fn from(key: ImageKey) -> Self {
        Self { kind: RuleKind::Images, entry: key.registry, pattern: key.text }
    }
}

impl RuleKind {
    /// Each of them.
    pub const ALL: [Self; 4] =
        [Self::Entry(EntryKind::Registry), Self::Entry(EntryKind::Service), Self::Entry(EntryKind::Deny), Self::Images];
}

impl fmt::Display for RuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(kind) => kind.fmt(f),
            Self::Images => f.write_str("images"),
        }
    }
}

impl RuleHits {
    /// What is known of a rule; nothing of one that was never hit.
    pub fn of(&self, key: &RuleKey) -> Hits {
        self.hits.get(key).copied().unwrap_or_default()
    }

    /// How many rules were hit since the start, or the history's.
    pub fn len(&self) -> usize {
        self.hits.len()
    }

    /// How many of those are of images.
    pub fn len_of_images(&self) -> usize {
        self.hits.keys().filter(|key| key.kind == RuleKind::Images).count()
    }

    /// Whether no rule was hit.
    pub fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }

    /// How many keys the images in force have.
    pub fn image_keys(&self) -> usize {
        self.images.len()
    }

    /// Hits of rules beyond those that are kept.
    pub fn unkept(&self) -> u64 {
        self.unkept
    }

    /// Takes over when rules were hit before the start.
    pub(super) fn remember(&mut self, rules: impl IntoIterator<Item = (RuleKey, SystemTime)>) {
        let before = rules.into_iter().map(|(key, last)| (Arc::new(key), Hits { count: 0, last: Some(last) }));
        self.hits.extend(before.take(MAX_RULES));
    }

    /// Forgets what the policy in force has no more.
    pub(super) fn follow(&mut self, policy: &Arc<InForce>) {
        if self.follows(policy) {
            return;
        }
        self.policy = Some(Arc::clone(policy));
        self.keys.clear();
        self.images = of_all_images(&policy.snapshot).collect();
        if !self.hits.is_empty() {
            let present = present(&policy.snapshot, &self.hits);
            self.hits.retain(|key, _| present.contains(key));
        }
    }

    /// The key of a rule of `policy`.
    pub(super) fn key(&mut self, policy: &Arc<InForce>, rule: RuleRef<'_>) -> Arc<RuleKey> {
        if !self.follows(policy) {
            return Arc::new(RuleKey::of(rule));
        }
        if self.keys.len() >= MAX_RULES {
            self.keys.clear();
        }
        Arc::clone(self.keys.entry(rule.number()).or_insert_with(|| Arc::new(RuleKey::of(rule))))
    }

    /// Counts hits of the rule of `policy` that has this key. One that has just left the policy in force is not taken up
    /// again.
    pub(super) fn add(&mut self, policy: &Arc<InForce>, key: &Arc<RuleKey>, count: u64, now: SystemTime) {
        if let Some(hits) = self.hits.get_mut(key) {
            *hits = Hits { count: hits.count + count, last: Some(now) };
        } else if self.follows(policy) && self.hits.len() < MAX_RULES {
            self.hits.insert(Arc::clone(key), Hits { count, last: Some(now) });
        } else if self.follows(policy) {
            self.unkept += count;
        }
    }

    /// Counts hits of a key of the images in force.
    pub(super) fn add_image(&mut self, key: &Arc<RuleKey>, count: u64, now: SystemTime) {
        if let Some(hits) = self.hits.get_mut(key) {
            *hits = Hits { count: hits.count + count, last: Some(now) };
        } else if !self.images.contains(&**key) {
            // What is not written is no rule, and what has just left the policy in force is none any more.
        } else if self.hits.len() < MAX_RULES {
            self.hits.insert(Arc::clone(key), Hits { count, last: Some(now) });
        } else {
            self.unkept += count;
        }
    }

    fn follows(&self, policy: &Arc<InForce>) -> bool {
        self.policy.as_ref().is_some_and(|known| Arc::ptr_eq(known, policy))
    }
}

/// The rules among `hits` that a policy has.
fn present(snapshot: &Snapshot, hits: &HashMap<Arc<RuleKey>, Hits>) -> HashSet<RuleKey> {
    RuleKey::all(snapshot).filter(|key| hits.contains_key(key)).collect()
}

/// Rules that are kept; some 2 MB of them.
const MAX_RULES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;
    use crate::policy::compile::{Options, load};

    fn in_force(hosts: &str) -> Arc<InForce> {
        let text = format!("version = 1\n[[registry]]\nname = \"lab\"\nhosts = [{hosts}]\n");
        let compiled = load(vec![Source::new("p.toml", text)], &Options::default(), SystemTime::UNIX_EPOCH);
        let snapshot = compiled.unwrap_or_else(|faults| panic!("{}", faults[0])).snapshot;
        Arc::new(InForce { snapshot, generation: 1, since: SystemTime::UNIX_EPOCH })
    }

    fn key(pattern: &str) -> RuleKey {
        RuleKey { kind: RuleKind::Entry(EntryKind::Registry), entry: "lab".to_owned(), pattern: pattern.to_owned() }
    }

    fn hit(hits: &mut RuleHits, policy: &Arc<InForce>, pattern: &str) {
        let rule = policy.snapshot.rules().find(|rule| rule.pattern().to_string() == pattern).unwrap();
        let key = hits.key(policy, rule);
        hits.add(policy, &key, 2, SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn hits_outlive_a_reload_and_end_with_the_rule() {
        let (before, after) = (in_force(r#""a.example", "b.example""#), in_force(r#""x.example", "a.example""#));
        let mut hits = RuleHits::default();
        hits.follow(&before);
        hit(&mut hits, &before, "a.example");
        hit(&mut hits, &before, "b.example");
        hits.follow(&after);
        hit(&mut hits, &after, "a.example");
        hit(&mut hits, &before, "a.example");
        hit(&mut hits, &before, "b.example");
        assert_eq!((hits.of(&key("a.example")).count, hits.of(&key("b.example"))), (6, Hits::default()));
        assert_eq!(hits.of(&key("x.example")), Hits::default());
    }

    #[test]
    fn a_rule_that_was_hit_before_the_start_is_known_for_when() {
        let mut hits = RuleHits::default();
        hits.remember([(key("a.example"), SystemTime::UNIX_EPOCH), (key("gone.example"), SystemTime::UNIX_EPOCH)]);
        hits.follow(&in_force(r#""a.example""#));
        assert_eq!(hits.of(&key("a.example")), Hits { count: 0, last: Some(SystemTime::UNIX_EPOCH) });
        assert_eq!(hits.len(), 1);
    }

    fn with_images(allow: &str) -> Arc<InForce> {
        let text = format!(
            "version = 1\n[[registry]]\nname = \"lab\"\nhosts = [\"a.example\"]\npath = \"inspect\"\n\
             [[images]]\nregistry = \"lab\"\nallow = [{allow}]\ncatalog = \"deny\"\n"
        );
        let options = Options { has_gateway: true, ..Options::default() };
        let compiled = load(vec![Source::new("p.toml", text)], &options, SystemTime::UNIX_EPOCH);
        let snapshot = compiled.unwrap_or_else(|faults| panic!("{}", faults[0])).snapshot;
        Arc::new(InForce { snapshot, generation: 1, since: SystemTime::UNIX_EPOCH })
    }

    fn image_key(text: &str) -> Arc<RuleKey> {
        Arc::new(RuleKey { kind: RuleKind::Images, entry: "lab".to_owned(), pattern: text.to_owned() })
    }

    #[test]
    fn written_keys_of_images_are_rules_and_what_is_not_written_is_none() {
        let keys: Vec<_> = RuleKey::all(&with_images("\"team/*\", \"x/y\"").snapshot).map(|key| key.pattern).collect();
        assert_eq!(keys, ["a.example", "allow = \"team/*\"", "allow = \"x/y\"", "catalog = \"deny\""]);
    }

    #[test]
    fn hits_of_images_outlive_a_reload_and_end_with_their_key() {
        let (before, after) = (with_images("\"team/*\", \"x/y\""), with_images("\"team/*\""));
        let (kept, gone, unwritten) =
            (image_key("allow = \"team/*\""), image_key("allow = \"x/y\""), image_key("[[images]] of lab"));
        let mut hits = RuleHits::default();
        for policy in [before, after] {
            hits.follow(&policy);
            for key in [&kept, &gone, &unwritten] {
                hits.add_image(key, 2, SystemTime::UNIX_EPOCH);
            }
        }
        assert_eq!((hits.of(&kept).count, hits.of(&gone).count, hits.of(&unwritten).count), (4, 0, 0));
        assert_eq!(hits.len(), 1);
    }
}
