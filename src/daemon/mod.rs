//! The running service: puts the parts together, and its signals, readiness and bounded stop.
