//! A TOML or JSON file as one tree in which every key and value knows its place, and the walk that collects faults.
