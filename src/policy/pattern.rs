//! One host name or wildcard of a policy.

/// A host name, or a set of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern;
