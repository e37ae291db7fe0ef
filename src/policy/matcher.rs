//! All patterns of a policy in one immutable structure: which rules match a name, at a cost that does not grow with
//! their number. Knows nothing of entries, groups or verdicts.
//!
//! Every rule is one record in an arena: a fixed header and its labels as the wire carries them. A hash table holds offsets
//! of records, keyed by the longest run of literal labels that ends the pattern, and is asked with each tail of a name:
//!
//! | strategy | patterns | matches |
//! |---|---|---|
//! | exact | `ghcr.io` | the name that is its key |
//! | suffix | `*.x`, `.x` | names below its key, `.x` the key as well |
//! | glob | `*-docker.pkg.dev`, `a-*.s3.*.amazonaws.com` | names below `pkg.dev`, `amazonaws.com` whose labels match |
//!
//! One pass over the labels, right to left, yields the hash of every tail; tails as deep as no rule are not looked up.
//! A slot leads to the newest rule with its key, each rule to the next older one. Names are compared byte for byte, so
//! that a collision of hashes costs a comparison and never allows anything; the hash is keyed at random besides.

mod rule;
mod table;
mod tails;

use std::collections::HashSet;

pub use self::rule::{Rule, Tag};
pub(super) use self::table::Table;
pub use self::tails::Tails;
pub(super) use self::tails::{hash_name, wire_length};

use self::rule::{MAX_RECORD, length, link, push_rule};
use self::tails::Depths;
use crate::policy::pattern::Pattern;

/// The rules and their index.
#[derive(Debug)]
pub struct Matcher {
    arena: Box<[u8]>,
    rules: usize,
    /// Offsets of records by key.
    index: Table<u32>,
    depths: Depths,
}

/// Collects rules, in file order, for a [`Matcher`].
#[derive(Debug)]
pub struct Builder {
    arena: Vec<u8>,
    rules: usize,
}

/// More rules than 32-bit offsets reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than 4 GiB of rules")]
pub struct TooManyRules;

impl Matcher {
    /// Calls `found` with every rule whose pattern matches a name, in no particular order. Allocates nothing.
    pub fn visit<'m>(&'m self, name: &Tails<'_>, mut found: impl FnMut(Rule<'m>)) {
        for depth in self.depths.of(name) {
            self.chain(name, depth).filter(|rule| rule.matches(name, depth)).for_each(&mut found);
        }
    }

    /// Calls `found` with every wildcard that matches only names below a name, of which it has the literal end: `*.x` for
    /// `x`, `a-*.*.x` for `x` and `b.x`.
    pub fn visit_wildcards_below<'m>(&'m self, name: &Tails<'_>, mut found: impl FnMut(Rule<'m>)) {
        for depth in self.depths.of(name) {
            self.chain(name, depth).filter(|rule| rule.continues(name, depth)).for_each(&mut found);
        }
    }

    /// All rules, in the order they were added.
    pub fn rules(&self) -> impl Iterator<Item = Rule<'_>> {
        let mut offset = FIRST;
        std::iter::from_fn(move || {
            let rule = Rule { arena: &self.arena, offset };
            (offset < length(&self.arena)).then(|| {
                offset += rule.size();
                rule
            })
        })
    }

    /// The rule at this place of the arena, which [`Rule::offset`] of one of its rules gave.
    pub fn rule_at(&self, offset: u32) -> Rule<'_> {
        Rule { arena: &self.arena, offset }
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules == 0
    }

    /// The bytes this matcher takes, its own fields aside.
    pub fn memory(&self) -> usize {
        self.arena.len() + self.index.memory()
    }

    /// The arena from an offset that [`Rule::key_offset`] gave, or a label further.
    pub(super) fn text(&self, offset: u32) -> &[u8] {
        &self.arena[offset as usize..]
    }

    /// All rules in the order they were added, each with whether it has its key to itself.
    pub(super) fn chained(&self) -> impl Iterator<Item = (Rule<'_>, bool)> {
        let older: HashSet<u32> = self.rules().filter_map(Rule::next).map(Rule::offset).collect();
        self.rules().map(move |rule| (rule, rule.next().is_none() && !older.contains(&rule.offset())))
    }

    /// The rules whose key is the last `depth` labels of a name, newest first.
    fn chain<'m>(&'m self, name: &Tails<'_>, depth: usize) -> impl Iterator<Item = Rule<'m>> + use<'m> {
        let (hash, tail) = (name.hash(depth), name.tail(depth));
        let rule_at = |offset| Rule { arena: &self.arena, offset };
        let first = self.index.find(hash, |offset| rule_at(offset).key().starts_with(tail));
        std::iter::successors(first.map(rule_at), |rule| rule.next())
    }
}

impl Default for Matcher {
    fn default() -> Self {
        Builder::default().finish()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self { arena: vec![0; FIRST as usize], rules: 0 }
    }
}

impl Builder {
    /// Adds one rule. Equal patterns may be added again, each with its own tag.
    ///
    /// # Errors
    /// No room: offsets have 32 bits.
    pub fn add(&mut self, pattern: &Pattern, tag: Tag) -> Result<(), TooManyRules> {
        u32::try_from(self.arena.len() + MAX_RECORD).map_err(|_| TooManyRules)?;
        push_rule(&mut self.arena, pattern, tag);
        self.rules += 1;
        Ok(())
    }

    /// Indexes the rules.
    pub fn finish(self) -> Matcher {
        let mut arena = self.arena.into_boxed_slice();
        let mut index = Table::with_room_for(self.rules);
        let mut depths = Depths::default();
        let mut offset = FIRST;
        while offset < length(&arena) {
            let rule = Rule { arena: &arena, offset };
            let (strategy, size, key) = (rule.strategy(), rule.size(), Tails::of_wire(rule.key()));
            depths.insert(&key, strategy);
            if let Some(older) = insert(&mut index, &arena, &key, offset) {
                link(&mut arena, offset, older);
            }
            offset += size;
        }
        let hash = |offset| hash_name(Rule { arena: &arena, offset }.key());
        // What rules with equal keys did not need.
        let index = index.shrunk(hash);
        Matcher { arena, rules: self.rules, index, depths }
    }
}

/// Adds the record at `offset` to an index; returns the one with the same key that was the newest so far.
fn insert(index: &mut Table<u32>, arena: &[u8], key: &Tails<'_>, offset: u32) -> Option<u32> {
    let (hash, tail) = (key.hash(key.labels), key.tail(key.labels));
    match index.find_mut(hash, |other| Rule { arena, offset: other }.key().starts_with(tail)) {
        None => {
            index.insert(hash, offset);
            None
        }
        Some(newest) => Some(std::mem::replace(newest, offset)),
    }
}

/// Offset 0 means "no rule", so the first record stands behind one unused byte.
const FIRST: u32 = 1;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use proptest::sample::{Index as Choice, select};
    use proptest::strategy::Strategy;

    use super::*;
    use crate::name::{DomainName, NameBuf, NameRef};
    use crate::policy::ancestors::Ancestors;
    use crate::policy::document::DataPath;
    use crate::policy::pattern::{LabelPattern, Reach};

    fn matcher(patterns: &[Pattern]) -> Matcher {
        numbered((0..).zip(patterns))
    }

    fn numbered<'p>(patterns: impl IntoIterator<Item = (u32, &'p Pattern)>) -> Matcher {
        let mut builder = Builder::default();
        for (entry, pattern) in patterns {
            builder
                .add(pattern, Tag { entry, path: 7, line: entry + 1, column: 3, data_path: DataPath::Inspect })
                .unwrap();
        }
        builder.finish()
    }

    fn parse(patterns: &[&str]) -> Vec<Pattern> {
        patterns.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn found(matcher: &Matcher, name: NameRef<'_>) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        matcher.visit(&Tails::of(name), |rule| assert!(found.insert(rule.entry()), "{rule} is found once"));
        found
    }

    fn found_in(patterns: &[&str], name: &str) -> Vec<u32> {
        let name: DomainName = name.parse().unwrap();
        found(&matcher(&parse(patterns)), name.as_name()).into_iter().collect()
    }

    #[test]
    fn every_rule_that_matches_is_found() {
        let patterns = ["a.x.test", "*.x.test", ".x.test", "*a.x.test", "a.x.test", "b.x.test", "*.y.test", "x.test"];
        assert_eq!(found_in(&patterns, "a.x.test"), [0, 1, 2, 4]);
        assert_eq!(found_in(&patterns, "aa.x.test"), [1, 2, 3]);
        assert_eq!(found_in(&patterns, "x.test"), [2, 7]);
        assert_eq!(found_in(&patterns, "c.b.a.x.test"), [1, 2]);
        assert_eq!(found_in(&patterns, "test"), [0; 0]);
        assert_eq!(found_in(&patterns, "."), [0; 0]);
    }

    #[test]
    fn a_wildcard_does_not_stand_for_odd_bytes() {
        for name in [r"a\.b.x.test", r"a\000.x.test", r"ok.a\032b.x.test", "é.x.test"] {
            assert_eq!(found_in(&["*.x.test", ".x.test", "*a.x.test", "a*.x.test"], name), [0; 0], "{name}");
        }
    }

    #[test]
    fn a_dot_inside_a_label_is_not_a_dot() {
        assert_eq!(found_in(&["a.x.test", "x.test", ".x.test"], r"a\.x.test"), [0; 0]);
    }

    #[test]
    fn globs_stay_within_their_labels() {
        let patterns = ["prod-*-layers.s3.*.amazonaws.com", "*-docker.pkg.dev"];
        assert_eq!(found_in(&patterns, "prod-eu-1-layers.s3.eu-west-1.amazonaws.com"), [0]);
        assert_eq!(found_in(&patterns, "prod--layers.s3.eu-west-1.amazonaws.com"), [0; 0]);
        assert_eq!(found_in(&patterns, "prod-a-layers.s3.amazonaws.com"), [0; 0]);
        assert_eq!(found_in(&patterns, "evil.prod-a-layers.s3.b.amazonaws.com"), [0; 0]);
        assert_eq!(found_in(&patterns, "eu-docker.pkg.dev"), [1]);
        assert_eq!(found_in(&patterns, "docker.pkg.dev"), [0; 0]);
    }

    #[test]
    fn a_name_as_deep_as_names_get_is_looked_up() {
        let deepest = format!("{}test", "a.".repeat(123));
        assert_eq!(found_in(&[".a.test", &deepest], &deepest), [0, 1]);
        let deeper: DomainName = vec!["a"; 127].join(".").parse().unwrap();
        assert!(found(&matcher(&parse(&[".x.test"])), deeper.as_name()).is_empty());
    }

    #[test]
    fn a_rule_tells_its_pattern_and_its_tag() {
        for text in ["ghcr.io", "*.x.test", ".x.test", "a.b-*.s3.*.x.test", "*.a-*.x.test"] {
            let matcher = matcher(&parse(&[text]));
            let rule = matcher.rules().next().unwrap();
            assert_eq!(rule.to_string(), text);
            assert_eq!(rule.tag(), Tag { entry: 0, path: 7, line: 1, column: 3, data_path: DataPath::Inspect });
            assert_eq!(usize::from(rule.literal_labels()), text.parse::<Pattern>().unwrap().literal_labels());
        }
    }

    #[test]
    fn rules_are_listed_in_the_order_they_were_added() {
        let matcher = matcher(&parse(&["c.test", "a*.x.test", ".b.test", "c.test"]));
        assert_eq!(matcher.rules().map(Rule::entry).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(matcher.rules().map(Rule::offset).is_sorted());
    }

    /// The names above a pattern, the plain way: those whose labels are the last of the pattern's, too few to match.
    fn is_above(pattern: &Pattern, name: NameRef<'_>) -> bool {
        let own: Vec<LabelPattern<'_>> = pattern.labels().collect();
        let labels: Vec<&[u8]> = name.labels().collect();
        let needed = own.len() + usize::from(pattern.reach() == Reach::Below);
        labels.len() < needed && own.iter().rev().zip(labels.iter().rev()).all(|(own, label)| own.matches(label))
    }

    fn has_below(matcher: &Matcher, name: NameRef<'_>) -> bool {
        let mut wildcards = false;
        matcher.visit_wildcards_below(&Tails::of(name), |_| wildcards = true);
        wildcards || Ancestors::of(matcher, |_| Some(0)).any(matcher, name, |grant| grant == 0)
    }

    /// A few labels, so that patterns and names meet often.
    fn label() -> impl Strategy<Value = String> {
        select(&["a", "b", "ab", "ba", "aab", "a-b", "x_y", "s3", "0"][..]).prop_map(str::to_owned)
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        let glob = select(&["*a", "a*", "*-*", "a*b", "*b*", "*"][..]).prop_map(str::to_owned);
        let head = prop::collection::vec(prop_oneof![3 => label(), 1 => glob], 0..4);
        let reach = select(&["", "*.", "."][..]);
        (reach, head, select(&["x.test", "a.test", "a.x.test", "test"][..]))
            .prop_map(|(reach, head, base)| format!("{reach}{}", [head, vec![base.to_owned()]].concat().join(".")))
            .prop_filter_map("grammar", |text| text.parse().ok())
    }

    /// A name near a pattern: its own labels, filled, with labels added, dropped or spoilt.
    fn name_near(pattern: &Pattern, fill: &[String], more: &[Vec<u8>], drop: usize, spoil: &[(Choice, u8)]) -> NameBuf {
        let fill = |index: usize| fill[index % fill.len()].as_bytes();
        let own = pattern.labels().enumerate().map(|(index, label)| match label {
            LabelPattern::Literal(text) => text.to_vec(),
            LabelPattern::Glob(glob) => {
                let parts: Vec<&[u8]> = glob.split(|byte| *byte == b'*').collect();
                parts.join(fill(index))
            }
        });
        let mut labels: Vec<Vec<u8>> = more.iter().cloned().chain(own).skip(drop).collect();
        for (at, byte) in spoil {
            if let Some(label) = labels.get_mut(at.index(8)) {
                let index = at.index(label.len());
                label[index] = *byte;
            }
        }
        let with_length = |label: &Vec<u8>| [&[u8::try_from(label.len()).unwrap()], label.as_slice()].concat();
        let wire: Vec<u8> = labels.iter().flat_map(with_length).collect();
        NameBuf::read(&[wire, vec![0]].concat()).unwrap()
    }

    fn extra_label() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![4 => label().prop_map(String::into_bytes), 1 => prop::collection::vec(any::<u8>(), 1..4)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_matcher_finds_what_the_naive_loop_finds_in_any_order(
            patterns in prop::collection::vec(pattern(), 1..24),
            near in any::<Choice>(),
            fill in prop::collection::vec(label(), 1..3),
            more in prop::collection::vec(extra_label(), 0..4),
            drop in 0usize..4,
            spoil in prop::collection::vec((any::<Choice>(), any::<u8>()), 0..2),
        ) {
            let name = name_near(near.get(&patterns), &fill, &more, drop, &spoil);
            let name = name.as_name();
            let naive: BTreeSet<u32> =
                (0..).zip(&patterns).filter(|(_, pattern)| pattern.matches(name)).map(|(entry, _)| entry).collect();
            prop_assert_eq!(&found(&matcher(&patterns), name), &naive, "{}", name);
            let mut turned: Vec<(u32, &Pattern)> = (0..).zip(&patterns).collect();
            turned.reverse();
            let backwards = numbered(turned);
            prop_assert_eq!(&found(&backwards, name), &naive, "{} backwards", name);
            if naive.is_empty() {
                let above = patterns.iter().any(|pattern| is_above(pattern, name));
                prop_assert_eq!(has_below(&backwards, name), above, "{} has names below", name);
            }
        }
    }
}
