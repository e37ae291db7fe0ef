//! Which names have an allowed name below them, and for whom: precomputed, since a resolver that answers NXDOMAIN for
//! such a name says that nothing exists below it (RFC 8020).
//!
//! One node for each pair of a name and a grant (a set of clients) that may use something below it. A node borrows its
//! text from the matcher's arena, since an ancestor of a pattern is a tail of it.

use hashbrown::HashTable;

use crate::name::NameRef;
use crate::policy::matcher::{Matcher, Rule, wire_length};
use crate::policy::pattern::Reach;

/// The names above the literal labels of allowed patterns.
#[derive(Debug, Default)]
pub(super) struct Ancestors {
    table: HashTable<u32>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// The rule whose key ends in the name.
    rule: u32,
    grant: u32,
    /// The next node of the same name, as its index plus one; 0: none.
    next: u32,
    /// How many bytes of the rule's key stand in front of the name.
    skip: u8,
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
        ancestors.nodes.shrink_to_fit();
        ancestors
    }

    /// Whether `name` stands above a pattern of a grant that `has` accepts.
    pub(super) fn any(&self, matcher: &Matcher, name: NameRef<'_>, has: impl Fn(u32) -> bool) -> bool {
        let wire = name.as_wire();
        let first = self.find(matcher, wire, matcher.keys().hash(wire));
        std::iter::successors(first, |node| self.node(node.next)).any(|node| has(node.grant))
    }

    /// The bytes this takes, its own fields aside.
    pub(super) fn memory(&self) -> usize {
        self.table.allocation_size() + self.nodes.capacity() * size_of::<Node>()
    }

    /// Adds what stands above a rule, nearest first, up to the first name that is known for the grant: those above it are
    /// known then, too.
    fn add(&mut self, matcher: &Matcher, rule: Rule<'_>, grant: u32) {
        let key = &rule.key()[..wire_length(rule.key())];
        let own_name_is_above = rule.is_glob() || rule.reach() == Reach::Below;
        let mut skip = if own_name_is_above { 0 } else { first_label(key) };
        while self.insert(matcher, key, Node { rule: rule.offset(), grant, next: 0, skip })
            && key[usize::from(skip)] > 0
        {
            skip += first_label(&key[usize::from(skip)..]);
        }
    }

    /// Adds one node; `false` if its name has one for the grant.
    fn insert(&mut self, matcher: &Matcher, key: &[u8], mut node: Node) -> bool {
        let wire = &key[usize::from(node.skip)..];
        let hash = matcher.keys().hash(wire);
        let number = u32::try_from(self.nodes.len() + 1).expect("a rule takes more bytes than the nodes it may add");
        let Self { table, nodes } = self;
        match table.find_mut(hash, |&other| nodes[other as usize - 1].is(matcher, wire)) {
            None => {
                let hash_of = |&other: &u32| matcher.keys().hash(nodes[other as usize - 1].wire(matcher));
                table.insert_unique(hash, number, hash_of);
            }
            Some(first) => {
                let chain = std::iter::successors(nodes.get(*first as usize - 1), |node| {
                    (node.next as usize).checked_sub(1).and_then(|index| nodes.get(index))
                });
                if chain.into_iter().any(|other| other.grant == node.grant) {
                    return false;
                }
                node.next = std::mem::replace(first, number);
            }
        }
        nodes.push(node);
        true
    }

    fn find(&self, matcher: &Matcher, wire: &[u8], hash: u64) -> Option<Node> {
        let is_name = |&number: &u32| self.nodes[number as usize - 1].is(matcher, wire);
        self.table.find(hash, is_name).and_then(|&number| self.node(number))
    }

    fn node(&self, number: u32) -> Option<Node> {
        (number as usize).checked_sub(1).and_then(|index| self.nodes.get(index).copied())
    }
}

impl Node {
    fn is(self, matcher: &Matcher, wire: &[u8]) -> bool {
        matcher.rule(self.rule).key()[usize::from(self.skip)..].starts_with(wire)
    }

    fn wire(self, matcher: &Matcher) -> &[u8] {
        let tail = &matcher.rule(self.rule).key()[usize::from(self.skip)..];
        &tail[..wire_length(tail)]
    }
}

/// The bytes of the first label and its length; 0 at the root.
fn first_label(wire: &[u8]) -> u8 {
    match wire[0] {
        0 => 0,
        length => length + 1,
    }
}
