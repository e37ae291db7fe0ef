//! `pullgate`: parses arguments, runs the command, maps its error to an exit code.

fn main() {}
