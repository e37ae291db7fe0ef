//! Where allowed names are resolved: one exchange, a choice among servers, a cache. Knows nothing of the policy.
