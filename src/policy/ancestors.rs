//! Which names have an allowed name below them, and for whom: precomputed, since a resolver that answers NXDOMAIN for
//! such a name says that nothing exists below it (RFC 8020).
//!
//! One node for each pair of a name and a grant (a set of clients) that may use something below it. A node borrows its
//! text from the matcher's arena, since an ancestor of a pattern is a tail of it. The literal end of a wildcard or glob is
//! no node: the matcher's own indexes find it.

use hashbrown::HashTable;

use crate::name::NameRef;
use crate::policy::matcher::{Matcher, Rule, Table, Tails, hash_name};

/// The names above the literal ends of allowed patterns.
#[derive(Debug, Default)]
pub(super) struct Ancestors {
    nodes: Table<Node>,
}

/// The names while they are collected, with their hashes: nobody knows yet how many there will be.
struct Collection<'m> {
    matcher: &'m Matcher,
    nodes: HashTable<(u64, Node)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// Where the name stands in the matcher's arena.
    name: u32,
    grant: u32,
}

impl Ancestors {
    /// Collects the ancestors of every rule for which `grant` names a grant.
    pub(super) fn of(matcher: &Matcher, grant: impl Fn(Rule<'_>) -> Option<u32>) -> Self {
        let mut collection = Collection { matcher, nodes: HashTable::new() };
        for rule in matcher.rules() {
            if let Some(grant) = grant(rule) {
                collection.add(rule, grant);
            }
        }
        collection.finish()
    }

    /// Whether `name` stands above the literal end of a pattern whose grant `has` accepts.
    pub(super) fn any(&self, matcher: &Matcher, name: NameRef<'_>, has: impl Fn(u32) -> bool) -> bool {
        let wire = name.as_wire();
        self.nodes.find(hash_name(wire), |node| node.is(matcher, wire) && has(node.grant)).is_some()
    }

    /// The bytes this takes, its own fields aside.
    pub(super) fn memory(&self) -> usize {
        self.nodes.memory()
    }
}

impl Collection<'_> {
    /// Adds what stands above a rule's literal end, nearest first, up to the first name that is known for the grant: those
    /// above it are known then, too.
    fn add(&mut self, rule: Rule<'_>, grant: u32) {
        let tails = Tails::of_wire(rule.key());
        for depth in (0..tails.labels).rev() {
            let node = Node { name: rule.key_offset() + u32::from(tails.start(depth)), grant };
            if !self.insert(tails.hash(depth), node, tails.tail(depth)) {
                break;
            }
        }
    }

    /// Adds a node, whose name is `wire`; `false` if it is there.
    fn insert(&mut self, hash: u64, node: Node, wire: &[u8]) -> bool {
        let is_known = |(_, other): &(u64, Node)| other.grant == node.grant && other.is(self.matcher, wire);
        if self.nodes.find(hash, is_known).is_some() {
            return false;
        }
        self.nodes.insert_unique(hash, (hash, node), |(hash, _)| *hash);
        true
    }

    fn finish(self) -> Ancestors {
        let mut nodes = Table::with_room_for(self.nodes.len());
        self.nodes.into_iter().for_each(|(hash, node)| nodes.insert(hash, node));
        Ancestors { nodes }
    }
}

impl Node {
    fn is(self, matcher: &Matcher, wire: &[u8]) -> bool {
        matcher.text(self.name).starts_with(wire)
    }
}
