//! From names to the fewest patterns that stand for them and for little else: a `*` within one label where at least
//! three names differ there alone, the names themselves everywhere else.

use std::collections::BTreeMap;

use crate::name::DomainName;
use crate::policy::pattern::Pattern;
use crate::policy::shared_suffix;

/// A pattern, and the names that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Narrowed {
    pub(super) pattern: Pattern,
    /// Places in the list of names.
    pub(super) names: Vec<usize>,
}

/// The patterns for these names; each name is in one. What is no host name is in none.
pub(super) fn narrow(names: &[DomainName]) -> Vec<Narrowed> {
    let texts: Vec<Option<String>> = names.iter().map(host_name).collect();
    let mut is_taken = vec![false; names.len()];
    let mut narrowed = Vec::new();
    for ((index, _), mut alike) in self::alike(&texts) {
        alike.retain(|at| !is_taken[*at]);
        let Some(pattern) = glob(index, &alike, &texts) else { continue };
        if alike.iter().all(|at| pattern.matches(names[*at].as_name())) {
            for at in &alike {
                is_taken[*at] = true;
            }
            narrowed.push(Narrowed { pattern, names: alike });
        }
    }
    for (at, text) in texts.iter().enumerate().filter(|(at, _)| !is_taken[*at]) {
        let pattern = text.as_deref().and_then(|text| Pattern::parse(text).ok());
        narrowed.extend(pattern.map(|pattern| Narrowed { pattern, names: vec![at] }));
    }
    narrowed.sort_by_key(|narrowed| narrowed.names[0]);
    narrowed
}

/// The name as a pattern that stands for it alone.
fn host_name(name: &DomainName) -> Option<String> {
    let text = name.to_string();
    let exact = Pattern::parse(&text).ok()?.exact()?;
    (exact == *name).then_some(text)
}

/// A label's number and the labels around it, without its own.
type Around<'t> = (usize, Vec<&'t str>);

/// The names that are alike but for one label, most of them first.
fn alike(texts: &[Option<String>]) -> Vec<(Around<'_>, Vec<usize>)> {
    let mut alike: BTreeMap<Around<'_>, Vec<usize>> = BTreeMap::new();
    for (at, text) in texts.iter().enumerate() {
        let labels: Vec<&str> = text.iter().flat_map(|text| text.split('.')).collect();
        for index in 0..labels.len() {
            let rest = labels.iter().enumerate().map(|(other, label)| if other == index { "" } else { label });
            alike.entry((index, rest.collect())).or_default().push(at);
        }
    }
    let mut alike: Vec<_> = alike.into_iter().filter(|(_, names)| names.len() >= MIN_NAMES).collect();
    alike.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    alike
}

/// The pattern with a `*` in the label of that number; `None`: too few names, or they have too little in common there.
fn glob(index: usize, alike: &[usize], texts: &[Option<String>]) -> Option<Pattern> {
    if alike.len() < MIN_NAMES {
        return None;
    }
    let names = || alike.iter().filter_map(|at| texts[*at].as_deref());
    let labels: Vec<&str> = names().filter_map(|name| name.split('.').nth(index)).collect();
    let glob = label(&labels)?;
    let first = names().next()?;
    let written = first.split('.').enumerate().map(|(at, label)| if at == index { glob.as_str() } else { label });
    let pattern = Pattern::parse(&written.collect::<Vec<_>>().join(".")).ok()?;
    (!shared_suffix::is_open_to_registrations(&pattern)).then_some(pattern)
}

/// What labels have in common, with a `*` for what they have not: whole words of them, as hyphens cut them.
fn label(labels: &[&str]) -> Option<String> {
    let shortest = labels.iter().map(|label| label.len()).min()?;
    let first = labels.first()?;
    let common = |cut: &dyn Fn(&str, usize) -> bool| {
        (1..shortest).take_while(|length| labels.iter().all(|label| cut(label, *length))).last().unwrap_or(0)
    };
    // Host names are ASCII: any place is one to cut at.
    let before = common(&|label, length| label.as_bytes()[..length] == first.as_bytes()[..length]);
    let ending = |label: &str, length: usize| label.as_bytes()[label.len() - length..].to_vec();
    let after = common(&|label, length| ending(label, length) == ending(first, length));
    let before = first[..before].rfind('-').map_or(0, |hyphen| hyphen + 1);
    let tail = &first[first.len() - after..];
    let after = tail.find('-').map_or("", |hyphen| &tail[hyphen..]);
    let fits = before + after.len() < shortest;
    let literals = first[..before].bytes().chain(after.bytes()).filter(u8::is_ascii_alphanumeric).count();
    (fits && literals >= MIN_LITERALS).then(|| format!("{}*{after}", &first[..before]))
}

/// So many names have to be alike: of two, chance is enough.
const MIN_NAMES: usize = 3;
/// Letters and digits that a label with a `*` has to have: fewer would let in nearly any label.
const MIN_LITERALS: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::pattern::Reach;

    fn patterns(names: &[&str]) -> Vec<String> {
        let names: Vec<DomainName> = names.iter().map(|name| name.parse().unwrap()).collect();
        narrow(&names).into_iter().map(|narrowed| narrowed.pattern.to_string()).collect()
    }

    #[test]
    fn names_that_differ_within_one_label_become_one_pattern() {
        let buckets =
            ["prod-a-layers.s3.amazonaws.com", "prod-b7-layers.s3.amazonaws.com", "prod-c-layers.s3.amazonaws.com"];
        assert_eq!(patterns(&buckets), ["prod-*-layers.s3.amazonaws.com"]);
        assert_eq!(patterns(&buckets[..2]), buckets[..2], "of two, chance is enough");
        assert_eq!(
            patterns(&[
                "edge.blob-1.example.com",
                "x.example.com",
                "edge.blob-2.example.com",
                "edge.blob-33.example.com"
            ]),
            ["edge.blob-*.example.com", "x.example.com"]
        );
    }

    #[test]
    fn names_with_too_little_in_common_stay_as_they_are() {
        for names in [
            ["a.cdn.example.com", "b.cdn.example.com", "c.cdn.example.com"],
            ["d1x.cloudfront.net", "d2y.cloudfront.net", "d3z.cloudfront.net"],
            ["eu-1.cdn.example.com", "eu-2.cdn.example.com", "eu-3.cdn.example.com"],
            ["cdn-prod-a.com", "cdn-prod-b.com", "cdn-prod-c.com"],
            ["a.prod-1-x.co.uk", "a.prod-2-x.co.uk", "a.prod-3-x.co.uk"],
            ["blobs-a-1.example.com", "other-a-1.example.com", "third-a-1.example.com"],
        ] {
            assert_eq!(patterns(&names), names);
        }
    }

    #[test]
    fn what_is_no_host_name_is_in_no_pattern() {
        assert_eq!(patterns(&["a\\.b.example", "ok.example", "1.2.3.4"]), ["ok.example"]);
    }

    proptest! {
        #[test]
        fn every_host_name_is_in_one_pattern_which_is_no_subtree(
            names in proptest::collection::btree_set("(prod-)?[ab]{1,2}(-layers)?(\\.[ab]){0,1}\\.(s3\\.amazonaws\\.com|example\\.com|co\\.uk)", 1..20)
        ) {
            let names: Vec<DomainName> = names.iter().map(|name| name.parse().unwrap()).collect();
            let narrowed = narrow(&names);
            let mut told: Vec<usize> = narrowed.iter().flat_map(|narrowed| narrowed.names.clone()).collect();
            told.sort_unstable();
            prop_assert_eq!(told, (0..names.len()).collect::<Vec<_>>());
            for Narrowed { pattern, names: places } in narrowed {
                prop_assert_eq!(pattern.reach(), Reach::Exact, "{}", &pattern);
                prop_assert!(!pattern.to_string().split('.').any(|label| label == "*"), "{}", &pattern);
                prop_assert!(places.iter().all(|at| pattern.matches(names[*at].as_name())));
            }
        }
    }
}
