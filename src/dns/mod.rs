//! DNS as clients see it: packets in, answers out. `pipeline` is the page to read first.
