//! Which names have an allowed name below them, and for whom: precomputed, since a resolver that answers NXDOMAIN for
//! such a name says that nothing exists below it (RFC 8020).
//!
//! One node for each pair of a name and a grant (a set of clients) that may use something below it. A node borrows its
//! text from the matcher's arena, since an ancestor of a pattern is a tail of it. The literal end of a wildcard or glob is
//! no node: the matcher's own indexes find it.

use hashbrown::HashTable;

use crate::name::NameRef;
use crate::policy::matcher::{Keys, Matcher, Rule, wire_length};

/// The names above the literal ends of allowed patterns.
#[derive(Debug, Default)]
pub(super) struct Ancestors {
    nodes: HashTable<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Where the name stands in the matcher's arena.
    name: u32,
    grant: u32,
}

impl Ancestors {
    /// Collects the ancestors of every rule for which `grant` names a grant.
    pub(super) fn of(matcher: &Matcher, grant: impl Fn(Rule<'_>) -> Option<u32>) -> Self {
        let mut ancestors = Self::default();
        for rule in matcher.rules() {
            if let Some(grant) = grant(rule) {
                ancestors.add(matcher, rule, grant);
            }
        }
        ancestors.nodes.shrink_to_fit(|node| node.hash(matcher));
        ancestors
    }

    /// Whether `name` stands above the literal end of a pattern whose grant `has` accepts.
    pub(super) fn any(&self, matcher: &Matcher, name: NameRef<'_>, has: impl Fn(u32) -> bool) -> bool {
        let wire = name.as_wire();
        self.nodes.iter_hash(Keys.hash(wire)).any(|node| node.is(matcher, wire) && has(node.grant))
    }

    /// The bytes this takes, its own fields aside.
    pub(super) fn memory(&self) -> usize {
        self.nodes.allocation_size()
    }

    /// Adds what stands above a rule's literal end, nearest first, up to the first name that is known for the grant: those
    /// above it are known then, too.
    fn add(&mut self, matcher: &Matcher, rule: Rule<'_>, grant: u32) {
        let mut name = rule.key_offset();
        while let length @ 1.. = matcher.text(name)[0] {
            name += 1 + u32::from(length);
            if !self.insert(matcher, Node { name, grant }) {
                break;
            }
        }
    }

    /// Adds a node; `false` if it is there.
    fn insert(&mut self, matcher: &Matcher, node: Node) -> bool {
        let (wire, hash) = (node.wire(matcher), node.hash(matcher));
        let is_known = |other: &Node| other.grant == node.grant && other.is(matcher, wire);
        if self.nodes.iter_hash(hash).any(is_known) {
            return false;
        }
        self.nodes.insert_unique(hash, node, |other| other.hash(matcher));
        true
    }
}

impl Node {
    fn is(self, matcher: &Matcher, wire: &[u8]) -> bool {
        matcher.text(self.name).starts_with(wire)
    }

    fn wire(self, matcher: &Matcher) -> &[u8] {
        let text = matcher.text(self.name);
        &text[..wire_length(text)]
    }

    fn hash(self, matcher: &Matcher) -> u64 {
        Keys.hash(self.wire(matcher))
    }
}
